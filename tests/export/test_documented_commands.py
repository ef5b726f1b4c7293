"""The commands of docs/gis.md run as they stand."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid
from tests.helpers.labelled_fields import field, offline, written  # noqa: F401
from tests.helpers.small_world import done

pytest.importorskip("rasterio")
pytestmark = pytest.mark.usefixtures("offline")
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gis.md").read_text(encoding="utf-8")
MADE = (
    "celsius.nc month_2012-01-16.tif month_2012-12-22.tif one.nc stations.csv stations.geojson "
    "summer.nc t2m.tif t2m_mean.qml t2m_mean.tif utmk.json utmk.tif "
    "wet.tif"
)


def ensemble(path: Path) -> None:
    """Write what the first command of the page makes, without the drawing."""
    korea = Grid(np.arange(33, 43.1, 0.25), np.arange(123, 131.1, 0.25))
    ds = field(korea, steps=12, members=3)
    rain = xr.full_like(ds["t2m"], 4.5) + ds["realization"]
    written(path, ds.assign(tp=rain.assign_attrs(units="mm day-1")))


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    ensemble(tmp_path / "korea.nc")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.strip().splitlines()]
    assert lines[0].startswith("dpdm downscale sample_data/east_asia_coarse.nc korea.nc")
    for line in lines[1:]:
        name, *words = shlex.split(line)
        assert name == "dpdm"
        done(*words)
    assert set(MADE.split()) <= {path.name for path in tmp_path.iterdir()}
    foreign = re.findall(r"^    ((?:gdal|rio )\S.*)$", PAGE, re.MULTILINE)
    assert len(foreign) == 4
    for line in foreign:
        if shutil.which(shlex.split(line)[0]):
            subprocess.run(shlex.split(line), check=True, capture_output=True)

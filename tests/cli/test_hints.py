"""Commands in hints: each is taken as printed and run, and dpdm then reads every step."""

import ast
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields
from dpdm_cli.main import main
from tests.helpers.climate_model import model_months
from tests.helpers.odd_files import fields
from tests.helpers.small_world import done, dpdm
from tests.helpers.time_axes import months

ROOT = Path(__file__).parents[2]
TOOLS = re.compile(r"\b(cdo|nc[a-z]{2,4}|grib_\w+|gdal\w*|mkdir|pip) +-*[a-z]")
MONTHS = ["2000-01-15", "2000-02-15", "2000-03-15"]
GAUSSIAN = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(32)[0]))

pytestmark = pytest.mark.skipif(
    shutil.which("cdo") is None or shutil.which("ncks") is None, reason="cdo or nco is not here"
)


def netcdf(ds: xr.Dataset) -> None:
    ds.to_netcdf("in.nc")


def with_degrees(ds: xr.Dataset) -> xr.Dataset:
    for name, units in (("lat", "degrees_north"), ("lon", "degrees_east")):
        ds[name].attrs["units"] = units
    return ds


def curvilinear() -> xr.Dataset:
    y, x = np.meshgrid(np.linspace(0, 30, 12), np.linspace(0, 40, 15), indexing="ij")
    tas = (("time", "y", "x"), np.full((3, 12, 15), 280.0, "f4"), {"units": "K"})
    ds = xr.Dataset({"tas": tas}, {"time": fields()["time"]})
    return with_degrees(ds.assign_coords(lat=(("y", "x"), y + x / 9), lon=(("y", "x"), x)))


def unstructured() -> xr.Dataset:
    ds = curvilinear().stack(cell=("y", "x"), create_index=False)
    return with_degrees(ds)


def rotated() -> xr.Dataset:
    ds = curvilinear()
    ds["pole"] = xr.DataArray(0, attrs={"grid_mapping_name": "rotated_latitude_longitude"})
    ds["tas"].attrs["grid_mapping"] = "pole"
    return ds


def two(dim: str, **units: str) -> xr.Dataset:
    return (
        fields()
        .expand_dims({dim: [1000.0, 500.0]})
        .assign_coords({dim: (dim, [1000.0, 500.0], units)})
    )


def swapped() -> xr.Dataset:
    return fields().isel(time=[0, 2, 1])


def twins() -> xr.Dataset:
    aloft = two("plev", units="hPa").rename(tas="t")
    return aloft.assign(t1000=fields()["tas"] - 5)


def with_wrong_bounds() -> xr.Dataset:
    ds = fields()
    ends = np.stack([ds["time"], ds["time"] + np.timedelta64(31, "D")], 1) + np.timedelta64(
        90, "D"
    )
    ds["time"].attrs["bounds"] = "time_bnds"
    ds["time"].encoding["units"] = "days since 1990-01-01"
    return ds.assign(time_bnds=(("time", "bnds"), ends))


def in_groups() -> None:
    fields().to_netcdf("in.nc", group="run")


def packed(calendar: str) -> Callable[[], object]:
    """Return what writes the three months in a calendar of no use."""
    counts = [730499, 730530, 730559] if calendar == "standard" else [0, 31, 60]
    since = "0000-01-01" if calendar == "standard" else "2000-01-15"
    attrs = {"units": f"days since {since}", "calendar": calendar}
    return lambda: months(Path("in.nc"), values=np.array(counts), **attrs)


# What provokes the hint, and what dpdm reads after its command.
READ: dict[str, Callable[[], object]] = {
    "cdo sorttimestamp": lambda: netcdf(swapped()),
    "cdo -r settunits,days -settaxis": lambda: months(Path("in.nc")),
    "cdo -r settunits,days -settaxis (numbers)": lambda: months(Path("in.nc"), values=[1, 2, 3]),
    "ncatted -O -a calendar, (none)": packed("none"),
    "ncatted -O -a calendar, (unknown)": packed("lunar"),
    "ncatted -O -a calendar, (year 0)": packed("standard"),
    "cdo remapbil,r360x180": lambda: netcdf(with_degrees(fields(GAUSSIAN))),
    "cdo remapbil,r360x180 (curvilinear)": lambda: netcdf(curvilinear()),
    "cdo remapbil,r360x180 (rotated)": lambda: netcdf(rotated()),
    "cdo remapnn,r360x180": lambda: netcdf(unstructured()),
    "ncatted -O -a units, (none)": lambda: netcdf(two("lev")),
    "ncatted -O -a units, (too large)": lambda: netcdf(
        two("plev", units="hPa").assign_coords(plev=("plev", [1e5, 5e4], {"units": "hPa"}))
    ),
    "ncks -x -v ": lambda: netcdf(twins()),
    "ncks -d (depth)": lambda: netcdf(two("depth", units="m")),
    "ncks -d (no coordinate)": lambda: netcdf(two("quantile").drop_vars("quantile")),
    "ncks -C -O -x -v (bounds)": lambda: netcdf(with_wrong_bounds()),
    "ncks -G": in_groups,
}


def beginning(case: str) -> str:
    return case.split(" (", maxsplit=1)[0]


def command_of(hint: str) -> str:
    """Return the command that a hint prints: what follows the colon, up to the full stop."""
    found = re.search(r": ((cdo|nc[a-z]+|mkdir) .*?)\.( |$)", hint)
    assert found, hint
    return found[1]


def ran(hint: str, **names: str) -> None:
    """Run the command of a hint on the files that it names."""
    command = command_of(hint)
    for old, new in {"IN.nc": "in.nc", "OUT.nc": "out.nc", **names}.items():
        command = re.sub(rf"\b{re.escape(old)}", new, command)
    subprocess.run(command, shell=True, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", READ)
def test_the_file_that_the_command_makes_is_read(case: str) -> None:
    READ[case]()
    with pytest.raises(DpdmError) as refusal:
        open_fields(Path("in.nc"))
    assert command_of(refusal.value.hint).startswith(beginning(case)), refusal.value
    ran(refusal.value.hint)
    after = load_checked_fields(open_fields(Path("out.nc")))
    assert [str(value)[:10] for value in after["time"].values] == MONTHS
    first = after[next(iter(after.data_vars))]
    assert np.isfinite(first).any(("lat", "lon")).all()


def test_steps_that_were_sorted_keep_their_values() -> None:
    netcdf(swapped())
    with pytest.raises(DpdmError) as refusal:
        open_fields(Path("in.nc"))
    ran(refusal.value.hint)
    np.testing.assert_array_equal(
        load_checked_fields(open_fields(Path("out.nc")))["t2m"], fields()["tas"]
    )


@pytest.mark.parametrize("dim", ["realization", "number", "member"])
def test_one_member_is_taken_by_the_dimension_of_the_file(dim: str) -> None:
    netcdf(fields().expand_dims({dim: 2}))
    toml = 'seed = 1\n[what]\nvariables = ["t2m"]\n[where]\nrandom = 5\n[error]\nstd = [1.0]\n'
    Path("obs.toml").write_text(toml)
    result = dpdm("observe", "in.nc", "obs.nc", "--config", "obs.toml")
    assert result.exit_code == 1
    ran(result.stderr.splitlines()[-1])
    assert "realization" not in load_checked_fields(open_fields(Path("out.nc"))).squeeze().dims


def test_fields_on_other_cells_are_interpolated_to_those_of_the_truth() -> None:
    with_degrees(fields()).to_netcdf("truth.nc")
    netcdf(with_degrees(fields(np.arange(-35.0, 36, 5), np.arange(2.5, 360, 5))))
    result = dpdm("evaluate", "in.nc", "truth.nc")
    assert result.exit_code == 1
    ran(result.stderr.splitlines()[-1], **{"TRUTH.nc": "truth.nc"})
    done("evaluate", "out.nc", "truth.nc")


def test_one_step_is_chosen_for_fields_without_time() -> None:
    with_degrees(fields()).isel(time=0, drop=True).to_netcdf("truth.nc")
    netcdf(with_degrees(fields()))
    result = dpdm("evaluate", "in.nc", "truth.nc")
    assert result.exit_code == 1
    ran(result.stderr.splitlines()[-1])
    done("evaluate", "out.nc", "truth.nc")


def test_a_field_without_time_is_dated_for_a_catalogue() -> None:
    netcdf(with_degrees(fields()).isel(time=0, drop=True))
    words = "a.tif", "--stac", "--variable", "t2m"
    result = dpdm("export", "in.nc", *words)
    assert result.exit_code == 1
    ran(result.stderr.splitlines()[-1])
    done("export", "out.nc", *words)
    assert "2012-01-16" in Path("a.json").read_text()


def test_a_reference_period_on_another_grid_is_interpolated() -> None:
    coarse = Grid(np.arange(31.0, 48, 2), np.arange(101.0, 130, 2))
    finer = Grid(np.arange(28.5, 52, 1), np.arange(98.5, 134, 1))
    with_degrees(model_months(2001, 1, grid=coarse)).to_netcdf("coarse.nc")
    netcdf(with_degrees(model_months(1995, 5, grid=finer)))
    words = "coarse.nc", "fine.nc", "--mean", "--bbox", "110,112,35,37"
    period = "--reference-period", "1995,1999", "--reference"
    result = dpdm("downscale", *words, *period, "in.nc")
    assert result.exit_code == 1
    ran(result.stderr.splitlines()[-1])
    done("downscale", *words, *period, "out.nc")


@pytest.mark.parametrize("name", ["folder", "two words", "it's"])
def test_a_folder_is_made(name: str) -> None:
    netcdf(fields())
    words = "coarsen", "in.nc", f"{name}/out.nc", "--factor", 1
    result = dpdm(*words)
    assert result.exit_code == 1
    ran(result.stderr.splitlines()[-1])
    done(*words)


def literals(path: Path) -> list[str]:
    """Return the texts of a module but for its docstrings; what is put into one is a *."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    whole = [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr)]
    silent |= {id(part) for text in whole for part in text.values}
    plain = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in silent]
    return [n.value for n in plain if isinstance(n.value, str)] + [
        "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in text.values)
        for text in whole
    ]


def sources() -> list[Path]:
    return sorted([*ROOT.glob("dpdm/**/*.py"), *ROOT.glob("cli/**/*.py")])


def test_days_are_averaged_to_the_months_that_a_prior_wants() -> None:
    days = xr.date_range("2012-01-01", periods=60, freq="D")
    coarse = Grid(np.arange(31.0, 48, 2), np.arange(101.0, 130, 2))
    shape = ("time", "lat", "lon"), np.full((60, *coarse.shape), 280.0, "f4"), {"units": "K"}
    netcdf(with_degrees(xr.Dataset({"t2m": shape}, coarse.coords() | {"time": days})))
    words = "fine.nc", "--mean", "--bbox", "110,115,35,40"
    result = dpdm("downscale", "in.nc", *words)
    assert result.exit_code == 1
    ran(result.stderr.splitlines()[-1])
    done("downscale", "out.nc", *words)
    with xr.open_dataset("fine.nc") as fine:
        assert fine["time"].dt.month.values.tolist() == [1, 2]


BESIDE = (
    "cdo monmean",
    "cdo setdate,2012-01-16",
    "cdo remapbil,TRUTH.nc",
    "cdo remapcon,*",
    "cdo seltimestep,1",
    "ncks -d *,0",
    "mkdir -p",
)
ELSEWHERE = {  # where the command is run
    "Between the outermost centres": "test_cli.py",
}


def test_every_command_in_a_hint_is_run_here() -> None:
    printed = [text for path in sources() for text in literals(path) if TOOLS.search(text)]
    known = [*(beginning(case) for case in READ), *BESIDE, *ELSEWHERE]
    strange = [t for t in printed if "pip install" not in t and not any(k in t for k in known)]
    assert not strange, f"run these in tests/cli/test_hints.py: {strange}"


def test_what_is_to_be_installed_is_there_to_install() -> None:
    texts = [t for path in sources() for t in literals(path) if "pip install" in t]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    needs = {re.split(r"[\[<>=;! ]", need)[0] for group in groups for need in group}
    for text in texts:
        word = re.findall(r"pip install (?:--\S+ )*'?([\w*\[\]]+)", text)[0]
        assert word in {"*", "dpdm", "dpdm[*]", "dpdm["} | needs, text


def test_dpdm_in_a_hint_has_such_a_command_and_option() -> None:
    """A command is followed by its options: dpdm downscale --keep members."""
    for path in sources():
        for text in literals(path):
            for name, rest in re.findall(r"dpdm ([a-z]+)((?: [A-Z.\w]+| --[a-z-]+)*)", text):
                command = main.commands.get(name)
                flags = re.findall(r"--[a-z-]+", rest)
                assert command or not flags, text
                known = (
                    {"--help"}
                    | {
                        o
                        for p in command.params
                        if isinstance(p, click.Option)
                        for o in (*p.opts, *p.secondary_opts)
                    }
                    if command
                    else set()
                )
                assert set(flags) <= known, text

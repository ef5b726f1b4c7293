"""Channels of a sounder in files: NetCDF, tables, and those that make no sense."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.observations.sounder import SounderChannels, read_channels
from sample_data.channels import gaussian_channels

SOUNDER = Path(__file__).parents[2] / "sample_data" / "sounder.nc"
PEAKS = (850, 600, 350, 200, 90)


def stored(path: Path, sounder: SounderChannels, **change: object) -> Path:
    """Write channels as the manual says, with something changed."""
    words = {
        "weight": (("channel", "level"), sounder.weight),
        "surface_weight": ("channel", sounder.surface),
        "error": ("channel", sounder.error, {"units": "K"}),
        "error_correlation": (("channel", "channel_2"), sounder.correlation),
    } | change
    coords = {
        "channel": list(sounder.name),
        "level": ("level", sounder.level / 100, {"units": "hPa"}),
    }
    xr.Dataset(words, coords).to_netcdf(path)
    return path


def test_channels_come_back_from_netcdf(tmp_path: Path) -> None:
    known = gaussian_channels(PEAKS, near=0.3)
    found = read_channels(stored(tmp_path / "c.nc", known))
    assert found.name == known.name
    for what in ("level", "weight", "surface", "error", "correlation"):
        np.testing.assert_allclose(getattr(found, what), getattr(known, what), rtol=1e-12)
    np.testing.assert_allclose(found.weight.sum(1) + found.surface, 1, rtol=1e-12)
    assert found.channel_index("3.0") == found.channel_index(3) == 2


def test_made_up_channels_peak_where_they_should() -> None:
    known = gaussian_channels(PEAKS)
    per_layer = known.weight / np.gradient(np.log(known.level))
    np.testing.assert_allclose(known.level[per_layer.argmax(1)] / 100, PEAKS, atol=13)
    assert (np.diff(known.surface) < 0).all()


def test_channels_come_back_from_csv(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(
        "channel,level [hPa],weight,error\n"
        "5,850,0.5,0.3\n5,500,0.4,0.3\nIR,500,1.0,\n5,surface,0.101,\n"
    )
    found = read_channels(path)
    assert found.name == ("5", "IR")
    assert found.level.tolist() == [50000.0, 85000.0]
    np.testing.assert_allclose(found.weight, [[0.4 / 1.001, 0.5 / 1.001], [1, 0]])
    np.testing.assert_allclose(found.surface, [0.101 / 1.001, 0])
    np.testing.assert_array_equal(found.error, [0.3, np.nan])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("channel,level,weight\n1,850,1\n", "no units"),
        ("channel,level [K],weight\n1,850,1\n", "not a pressure"),
        ("channel,level [hPa],weight\n1,850,0.5\n", "add up to 0.5, not to 1"),
        ("channel,level [hPa]\n1,850\n", "no column weight"),
        ("channel,level [hPa],weight\n1,850,.5\n1,850,.5\n", "two weights on one level"),
        ("channel,level [hPa],weight\n1,high,1\n", "cannot be read"),
        ("channel,level [hPa],weight\n1,850,\n", "add up to 0"),
        ("channel,level [hPa],weight,error\n1,850,1,-2\n", "error is not above 0"),
        ("channel,level [hPa],weight,error\n1,850,.5,2\n1,700,.5,3\n", "two errors"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(DpdmError, match=what):
        read_channels(path)


def test_netcdf_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    known, path = gaussian_channels(PEAKS), tmp_path / "c.nc"
    related = np.eye(5)
    related[0, 1] = 0.5
    pair = ("channel", "channel_2")
    with pytest.raises(DpdmError, match="not a correlation matrix"):
        read_channels(stored(path, known, error_correlation=(pair, related)))
    with pytest.raises(DpdmError, match="no variable weight"):
        read_channels(stored(path, known, weight=("channel", np.ones(5))))
    with pytest.raises(DpdmError, match="cannot be read"):
        read_channels(tmp_path / "none.nc")


def test_an_unknown_channel_is_named() -> None:
    with pytest.raises(DpdmError, match=r"The channel 6 is observed, but .* 1, 2, 3, 4, 5"):
        gaussian_channels(PEAKS).channel_index("6")

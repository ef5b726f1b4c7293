"""What catalogues ask is said of the fields themselves, not of what they were made from."""

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.metadata import add_cf_metadata

GRID = Grid(np.arange(-5.0, 6, 2.5), np.arange(170.0, 191, 5))
OLD = {
    "id": "tas_Amon", "license": "CC BY 4.0", "geospatial_lat_min": -90.0, "summary": "The globe.",
    "time_coverage_start": "1850-01-01", "institution": "A centre", "tracking_id": "hdl:21",
}  # fmt: skip


def said(steps: int, freq: str, calendar: str = "standard", attrs: dict | None = None) -> dict:
    time = xr.date_range("2000-01-16", periods=steps, freq=freq, calendar=calendar)
    words = {"standard_name": "air_temperature", "units": "K", "long_name": "air temperature"}
    dims = ("time", "lat", "lon")
    warm = (dims, np.full((steps, *GRID.shape), 280.0, "f4"), words | (attrs or {}))
    fields = {"t850" if attrs else "t2m": warm}
    if attrs:
        higher = attrs | {"level": 50000.0}
        fields["t500"] = (dims, warm[1] - 30, words | higher)
    ds = xr.Dataset(fields, GRID.coords() | {"time": time}, OLD)
    return add_cf_metadata(ds, "Fields of a test", {}, "dpdm test").attrs


def test_box_and_words_are_those_of_the_fields() -> None:
    attrs = said(12, "MS")
    assert attrs["Conventions"] == "CF-1.11, ACDD-1.3"
    assert (attrs["geospatial_lat_min"], attrs["geospatial_lat_max"]) == (-5.0, 5.0)
    assert (attrs["geospatial_lon_min"], attrs["geospatial_lon_max"]) == (170.0, 190.0)
    assert (attrs["geospatial_lat_resolution"], attrs["geospatial_lon_resolution"]) == (2.5, 5.0)
    assert attrs["keywords"] == "air_temperature"
    assert attrs["summary"].startswith("Fields of a test. On 5 x 5 cells")
    assert not attrs.keys() & {"id", "tracking_id", "geospatial_vertical_min"}
    assert (attrs["license"], attrs["institution"]) == ("CC BY 4.0", "A centre")


@pytest.mark.parametrize(
    ("steps", "freq", "calendar", "span"),
    [
        (12, "MS", "standard", ("2000-02-01", "2001-01-01", "P335D", "P1M")),
        (3, "15D", "360_day", ("2000-01-16", "2000-02-16", "P30D", "P15D")),
        (3, "6h", "noleap", ("2000-01-16", "2000-01-16", "P0.5D", "PT6H")),
        (1, "D", "standard", ("2000-01-16", "2000-01-16", None, None)),
    ],
)
def test_dates_are_those_of_the_steps_in_any_calendar(
    steps: int, freq: str, calendar: str, span: tuple[str | None, ...]
) -> None:
    attrs = said(steps, freq, calendar)
    words = ("start", "end", "duration", "resolution")
    found = [attrs.get(f"time_coverage_{word}") for word in words]
    assert [found[0][:10], found[1][:10], *found[2:]] == list(span)


def test_levels_are_said_too() -> None:
    attrs = said(2, "D", attrs={"family": "t", "level": 85000.0, "level_units": "Pa"})
    assert (attrs["geospatial_vertical_min"], attrs["geospatial_vertical_max"]) == (5e4, 8.5e4)
    assert attrs["geospatial_vertical_positive"] == "down"

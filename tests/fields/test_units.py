"""Units: every conversion against numbers worked by hand, its inverse, and every refusal."""

import subprocess
import sys
from pathlib import Path

import cftime
import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.units import from_canonical, parse_unit, to_canonical
from dpdm.fields.variables import (
    SURFACE_VARIABLES,
    FileVariable,
    identify_variable,
    match_variables,
)

ROOT = Path(__file__).parents[2]
EXACT = 1e-12  # a few operations in float64; degF subtracts 459.67


def field(name: str, value: float, units: str | None, time: list | None = None) -> xr.DataArray:
    """Make a float64 field with a gradient about a value, repeated at each time."""
    pattern = value * np.linspace(0.9, 1.1, 12).reshape(3, 4)
    array = xr.DataArray(pattern, dims=("lat", "lon"), name=name)
    if time is not None:
        array = array.expand_dims(time=time).copy()
    return array if units is None else array.assign_attrs(units=units)


@pytest.mark.parametrize(
    ("name", "value", "units", "scale", "offset"),
    [
        ("t2m", 280.0, "K", 1, 0),
        ("t2m", 280.0, "Kelvin", 1, 0),
        ("t2m", 10.0, "degC", 1, 273.15),
        ("t2m", 10.0, "Celsius", 1, 273.15),
        ("t2m", 10.0, "degrees C", 1, 273.15),
        ("t2m", 10.0, "°C", 1, 273.15),
        ("t2m", 10.0, "C", 1, 273.15),
        ("t2m", 50.0, "degF", 5 / 9, 459.67 * 5 / 9),
        ("t2m", 50.0, "Fahrenheit", 5 / 9, 459.67 * 5 / 9),
        ("sp", 1000.0, "hPa", 100, 0),
        ("sp", 1000.0, "mbar", 100, 0),
        ("sp", 1000.0, "mb", 100, 0),
        ("sp", 1000.0, "millibars", 100, 0),
        ("msl", 1e5, "PA", 1, 0),
        ("msl", 100.0, "kPa", 1000, 0),
        ("u10", 10.0, "m/s", 1, 0),
        ("u10", 10.0, "m s**-1", 1, 0),
        ("u10", 10.0, "M/S", 1, 0),
        ("v10", 10.0, "knots", 1852 / 3600, 0),
        ("v10", 10.0, "kts", 1852 / 3600, 0),
        ("v10", 36.0, "km/h", 1 / 3.6, 0),
        ("tp", 1e-4, "kg m-2 s-1", 86400, 0),
        ("tp", 1e-4, "kg m**-2 s**-1", 86400, 0),
        ("tp", 1e-4, "kg/m2/s", 86400, 0),
        ("tp", 1e-4, "mm s-1", 86400, 0),
        ("tp", 1e-7, "m/s", 86400e3, 0),
        ("tp", 5.0, "mm/day", 1, 0),
        ("tp", 5.0, "mm d-1", 1, 0),
        ("tp", 5.0, "kg m-2 day-1", 1, 0),
        ("tp", 0.005, "m/day", 1000, 0),
        ("tp", 0.005, "m of water equivalent per day", 1000, 0),
        ("tp", 0.5, "mm/hour", 24, 0),
        ("tp", 5e-4, "m per hour", 24e3, 0),
        ("tp", 1.0, "inch/day", 25.4, 0),
        ("tp", 100.0, "mm/month", 12 / 365.25, 0),
        ("tp", 100.0, "kg m-2 mon-1", 12 / 365.25, 0),
        ("tp", 1000.0, "mm/year", 1 / 365.25, 0),
    ],
)
def test_conversion_and_its_inverse(
    name: str, value: float, units: str, scale: float, offset: float
) -> None:
    given = field(name, value, units)
    out = to_canonical(given, SURFACE_VARIABLES[name])
    assert (out.attrs["units"], out.attrs["source_units"]) == (
        SURFACE_VARIABLES[name].units,
        units,
    )
    np.testing.assert_allclose(out, given * scale + offset, rtol=EXACT)
    back = from_canonical(out)
    assert back.attrs["units"] == units
    assert "source_units" not in back.attrs
    np.testing.assert_allclose(back, given, rtol=EXACT)


def test_canonical_units_change_no_bit() -> None:
    given = field("tp", 5.3, "mm day-1").astype(np.float32)
    assert np.array_equal(to_canonical(given, SURFACE_VARIABLES["tp"]), given)
    assert np.array_equal(from_canonical(to_canonical(given, SURFACE_VARIABLES["tp"])), given)


def test_single_precision_stays_single_and_lazy_stays_lazy() -> None:
    time = [cftime.Datetime360Day(2000, 2, 16)]
    given = field("tp", 60.0, "mm/month", time).astype(np.float32).chunk()
    out = to_canonical(given, SURFACE_VARIABLES["tp"])
    assert out.dtype == np.float32
    assert out.chunks is not None
    assert out.dims == given.dims


@pytest.mark.parametrize(
    ("date", "days"),
    [
        (np.datetime64("2000-02-16", "ns"), 29),
        (np.datetime64("1999-02-16", "ns"), 28),
        (np.datetime64("1999-12-01", "ns"), 31),
        (cftime.DatetimeNoLeap(2000, 2, 16), 28),
        (cftime.Datetime360Day(2000, 2, 16), 30),
        (cftime.DatetimeGregorian(1850, 7, 1), 31),
    ],
)
def test_a_month_has_the_days_of_its_calendar(date: object, days: int) -> None:
    given = field("tp", 90.0, "mm/month", [date])
    out = to_canonical(given, SURFACE_VARIABLES["tp"])
    np.testing.assert_allclose(out, given / days, rtol=EXACT)
    np.testing.assert_allclose(from_canonical(out), given, rtol=EXACT)


@pytest.mark.parametrize(
    ("units", "millimetres", "standard"),
    [
        ("m", 1000, "lwe_thickness_of_precipitation_amount"),
        ("mm", 1, "lwe_thickness_of_precipitation_amount"),
        ("kg m-2", 1, "precipitation_amount"),
        ("m of water equivalent", 1000, "lwe_thickness_of_precipitation_amount"),
    ],
)
def test_an_amount_falls_over_its_bounds(units: str, millimetres: float, standard: str) -> None:
    edges = np.array(["2000-01-01", "2000-02-01", "2000-02-01T06"], "M8[ns]")
    bounds = xr.DataArray(np.stack([edges[:-1], edges[1:]], 1), dims=("time", "bnds"))
    given = field("tp", 62.0 / millimetres, units, list(edges[:-1]))
    out = to_canonical(given, SURFACE_VARIABLES["tp"], bounds=bounds)
    days = xr.DataArray([31, 0.25], dims="time")
    np.testing.assert_allclose(out, given * millimetres / days, rtol=EXACT)
    back = from_canonical(out, bounds)
    np.testing.assert_allclose(back, given, rtol=EXACT)
    assert back.attrs["standard_name"] == standard


def test_an_amount_without_a_period_is_refused_with_its_range() -> None:
    with pytest.raises(DpdmError, match=r"0\.0045 to 0\.0055 m") as refusal:
        to_canonical(field("tp", 0.005, "m"), SURFACE_VARIABLES["tp"])
    assert "--units tp=m/day" in refusal.value.hint
    declared = to_canonical(field("tp", 0.005, "m"), SURFACE_VARIABLES["tp"], "m/day")
    np.testing.assert_allclose(declared.mean(), 5.0, rtol=EXACT)


def test_bounds_that_enclose_no_time_are_refused() -> None:
    now = np.array(["2000-01-01"], "M8[ns]")
    bounds = xr.DataArray(np.stack([now, now], 1), dims=("time", "bnds"))
    with pytest.raises(DpdmError, match="enclose no time"):
        to_canonical(field("tp", 5.0, "mm", list(now)), SURFACE_VARIABLES["tp"], bounds=bounds)


@pytest.mark.parametrize(
    ("name", "value", "units", "what", "hint"),
    [
        ("t2m", 280.0, None, "t2m has no units", "--units t2m=K"),
        ("t2m", 280.0, "bananas", "'bananas' is not a unit", ""),
        ("t2m", 280.0, "Pa", "cannot be converted to K", "--units t2m="),
        ("tp", 5.0, "K", "cannot be converted to mm day-1", "--units tp="),
        ("tp", 5.0, "kg s-1", "cannot be converted to mm day-1", "--units tp="),
        ("u10", 5.0, "1", "cannot be converted to m s-1", "--units u10="),
    ],
)
def test_refusals(name: str, value: float, units: str | None, what: str, hint: str) -> None:
    with pytest.raises(DpdmError) as refusal:
        to_canonical(field(name, value, units), SURFACE_VARIABLES[name])
    assert what in refusal.value.what
    assert hint in refusal.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9 mm", "9^9^9 mm", "m^2^9", "m9^9^9", "(((10^99)^99)^99)^99 mm", "mm" * 60,
        "m**(9**9)", "m^1000000000", "__import__('os').system('x')", "mm\x1b[31m", "(" * 200,
    ],
)  # fmt: skip
def test_a_unit_is_never_a_calculation(text: str) -> None:
    with pytest.raises(DpdmError, match="is not a unit that can be read") as refusal:
        parse_unit(text)
    assert len(refusal.value.what) < 150


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("kg*m**-2*s**-1", "kg m-2 s-1"), ("m s^-1", "m/s"), ("(mm)^2", "mm2"),
        ("m**(1/2)", "m^0.5"), ("m³ s⁻¹", "m3/s"), ("kg.m-2.s-1", "kg/m^2/s"),
    ],
)  # fmt: skip
def test_powers_of_units_are_read_however_they_are_written(text: str, same: str) -> None:
    assert parse_unit(text) == parse_unit(same)


def test_only_tiny_negative_rain_becomes_zero() -> None:
    given = xr.DataArray([[-9e-4, 0.0], [np.nan, 2.0]], dims=("lat", "lon"), name="tp")
    out = to_canonical(given.assign_attrs(units="mm/day"), SURFACE_VARIABLES["tp"])
    np.testing.assert_array_equal(out, [[0.0, 0.0], [np.nan, 2.0]])


@pytest.mark.parametrize(
    ("name", "attrs", "expected"),
    [
        ("x", {"standard_name": "air_temperature"}, "t2m"),
        ("x", {"standard_name": "precipitation_amount"}, "tp"),
        ("x", {"standard_name": "air_pressure_at_sea_level"}, "msl"),
        ("T2M", {}, "t2m"),
        ("2t", {"standard_name": "unknown"}, "t2m"),
        ("pr", {}, "tp"),
        ("UWND", {}, "u10"),
        ("temp", {"standard_name": "sea_water_temperature"}, None),
        ("tasmax", {"standard_name": "air_temperature", "cell_methods": "time: maximum"}, None),
        ("z", {}, None),
        ("tmp", {"long_name": "near-surface temperature"}, "t2m"),  # CRU TS
        ("tavg", {}, "t2m"),
        ("TREFHT", {"long_name": "Reference height temperature"}, "t2m"),  # CESM
        ("TMP_2maboveground", {"long_name": "Temperature"}, "t2m"),  # wgrib2
        ("PRECT", {"long_name": "Total (convective and large-scale) precipitation rate"}, "tp"),
        ("tavg", {"long_name": "mean of maximum and minimum temperature"}, "t2m"),
        ("tempanomaly", {"long_name": "Surface temperature anomaly"}, None),  # GISTEMP
        ("tas", {"long_name": "Air Surface Temperature Anomaly"}, None),
        ("temp", {"long_name": "sea surface temperature"}, None),
        ("tmp", {"long_name": "Soil temperature"}, None),
        ("tx", {"standard_name": "air_temperature", "long_name": "maximum temperature"}, None),
        ("U10", {"long_name": "10m wind speed"}, None),  # CESM
        ("U10", {"long_name": "10 metre U wind component"}, "u10"),
        ("pr", {"long_name": "Maximum one-day precipitation"}, None),
        ("p", {}, None),
        ("r", {}, None),
    ],
)
def test_identify(name: str, attrs: dict[str, str], expected: str | None) -> None:
    found = identify_variable(FileVariable.read(xr.DataArray(0.0, name=name, attrs=attrs)))
    assert (found and found.name) == expected


def test_anomalies_are_not_taken_for_the_variable_itself() -> None:
    array = xr.DataArray(0.0, name="tempanomaly")
    with pytest.raises(DpdmError, match=r"tempanomaly .* holds anomalies"):
        match_variables({"tempanomaly": FileVariable.read(array)}, {"t2m": "tempanomaly"})


@pytest.mark.parametrize(
    ("name", "unit", "value"),
    [
        ("t2m", unit, 15.0)
        for unit in ("oC", "deg. C", "Deg C", "C", "º C", "° C", "degree_Celsius", "Celcius")
    ]
    + [("t2m", "0.1 degC", 150.0), ("t2m", "0.1K", 2881.5), ("t2m", "K/10", 2881.5)]
    + [("t2m", "0.1 degF", 590.0), ("t2m", "degrees_kelvin", 288.15)]
    + [("tp", unit, 3.0) for unit in ("mm/d", "mm/dy", "mm day^-1", "mm d-1", "MM/DAY")]
    + [("tp", unit, 3.0 / 86400) for unit in ("Kg/m^2/s", "kg m**-2 s**-1", "mm s-1")]
    + [("tp", unit, 3 * 30.4375) for unit in ("mm/mo", "mm month-1", "mm/Month", "mm mon-1")]
    + [("tp", "mm/yr", 3 * 365.25), ("tp", "m s**-1", 3e-3 / 86400), ("tp", "mm/3h", 0.375)]
    + [("tp", "0.1 mm/day", 30.0), ("tp", "0.1 mm/month", 304.375 * 3)],
)
def test_units_as_others_spell_them(name: str, unit: str, value: float) -> None:
    given = xr.DataArray(np.full((2, 2), value), dims=("lat", "lon"), name=name)
    out = to_canonical(given.assign_attrs(units=unit), SURFACE_VARIABLES[name])
    np.testing.assert_allclose(out, 288.15 if name == "t2m" else 3.0, rtol=1e-6)
    np.testing.assert_allclose(from_canonical(out), given, rtol=1e-6)


@pytest.mark.parametrize("unit", ["K*10", "mm/pentad", "mm/timestep", "(0 - 1)", "0.1", "1e3"])
def test_units_that_may_mean_two_things_are_refused(unit: str) -> None:
    with pytest.raises(DpdmError):
        to_canonical(field("t2m", 280.0, unit), SURFACE_VARIABLES["t2m"])


def test_temperature_aloft_is_not_t2m() -> None:
    aloft = xr.DataArray(0.0, name="ta", attrs={"standard_name": "air_temperature"})
    assert identify_variable(FileVariable.read(aloft.assign_coords(plev=85000.0))) is None
    assert identify_variable(FileVariable.read(aloft.assign_coords(height=2.0))) is not None


def test_the_better_claim_wins_and_equal_claims_are_refused() -> None:
    def array(name: str) -> FileVariable:
        attrs = {"standard_name": "air_temperature"}
        return FileVariable.read(xr.DataArray(0.0, name=name, attrs=attrs))

    assert match_variables({"ta": array("ta"), "tas": array("tas")}, {}) == {"t2m": "tas"}
    assert match_variables({"ta": array("ta"), "tb": array("tb")}, {"t2m": "tb"}) == {"t2m": "tb"}
    with pytest.raises(DpdmError, match="ta and tb may each be t2m") as refusal:
        match_variables({"tb": array("tb"), "ta": array("ta")}, {})
    assert "--var t2m=ta" in refusal.value.hint


def test_the_registry_is_loaded_in_silence() -> None:
    script = (
        "import logging; logging.basicConfig()\nfrom dpdm.fields.units import "
        "parse_unit; parse_unit('K')"
    )
    command = [sys.executable, "-c", script]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (said.stdout, said.stderr) == ("", "")

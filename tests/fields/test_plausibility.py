"""A value that cannot be is refused where it stands, unless it is declared missing."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.plausibility import MISSING_VALUE_CODES, PLAUSIBLE_RANGES
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields, matches_code
from dpdm.fields.variables import OBSERVED_VARIABLES
from dpdm.observations.table import read_observations
from tests.helpers.small_world import coarse_world, done, dpdm, refused

LAT, LON = np.arange(-30.0, 31.0, 10.0), np.arange(0.0, 360.0, 30.0)
TIME = np.array(["2000-01-15", "2000-02-15", "2000-03-15"], "M8[ns]")
UNITS = {
    "t2m": "K", "tp": "mm/day", "u10": "m/s", "sp": "Pa", "msl": "Pa", "hurs": "%", "sic": "1",
}  # fmt: skip
USUAL = {"t2m": 280.0, "tp": 2.0, "u10": 3.0, "sp": 9e4, "msl": 1e5, "hurs": 60.0, "sic": 0.1}


def fields(name: str = "t2m", units: str = "", usual: float | None = None) -> xr.Dataset:
    """Return three months of one variable, north first, from south and west of its files."""
    base = USUAL[name] if usual is None else usual
    values = np.full((3, LAT.size, LON.size), base, "f4")
    values *= 1 + 0.01 * np.random.default_rng(0).random(values.shape, "f4")
    array = (("time", "lat", "lon"), values, {"units": units or UNITS[name]})
    return xr.Dataset({name: array}, {"time": TIME, "lat": LAT[::-1], "lon": LON})


def spoilt(path: Path, value: float, name: str = "t2m", **more) -> Path:
    """Write fields with one value in the cell at 20 N, 90 E of the second month."""
    ds = fields(name, **more)
    ds[name][1, 1, 3] = value
    ds.to_netcdf(path, encoding={name: {"_FillValue": None}})
    return path


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("code", [-999, -9999, 1e20, 3e38, 9.969209968386869e36])
def test_an_undeclared_code_is_refused_where_it_stands(tmp_path, name, code):
    out = open_fields(spoilt(tmp_path / "a.nc", code, name))
    load_checked_fields(out.isel(time=0))
    with pytest.raises(DpdmError) as refusal:
        load_checked_fields(out.isel(time=[1]))
    place = "in 1 of 84 cells at 2000-02-15T00:00, first at latitude 20, longitude 90"
    text = str(np.float32(code)).removesuffix(".0")
    assert f"{tmp_path / 'a.nc'}: {name} is {text} {UNITS[name]} {place}: " in refusal.value.what
    assert refusal.value.what.count("a.nc") == 1
    assert f"--missing {text}" in refusal.value.hint


@pytest.mark.parametrize(
    ("name", "units", "usual", "value"),
    [
        ("t2m", "K", 280.0, -99.9), ("t2m", "degC", 10.0, -99.9), ("t2m", "degC", 10.0, -999),
        ("t2m", "K", 280.0, 9999), ("t2m", "degF", 50.0, -999), ("tp", "mm/day", 2.0, 9999),
        ("tp", "kg m-2 s-1", 2e-5, -99.9), ("tp", "m/day", 1e-3, 9999), ("u10", "m/s", 3.0, 99.9),
        ("sp", "hPa", 900.0, -99.9), ("msl", "hPa", 1000.0, 9999),
    ],
)  # fmt: skip
def test_a_code_is_known_in_the_unit_of_the_file(tmp_path, name, units, usual, value):
    path = spoilt(tmp_path / "a.nc", value, name, units=units, usual=usual)
    with pytest.raises(DpdmError) as refusal:
        load_checked_fields(open_fields(path))
    text = f"{value:g}"
    assert f"{name} is {text} {units} in 1 of 84 cells" in refusal.value.what
    assert f"--missing {text}" in refusal.value.hint
    clean = load_checked_fields(open_fields(path, missing={name: (value,)}))
    assert int(clean[name].isnull().sum()) == 1
    assert bool(clean[name].sel(lat=20, lon=90, time="2000-02-15").isnull())


@pytest.mark.parametrize(
    ("name", "usual", "values"),
    [
        ("t2m", 300.0, [329.9, 183.9]),  # Death Valley, Vostok
        ("tp", 4.0, [7344.0, 1825.0]),  # the wettest hour and day
        ("sp", 9e4, [33_700.0, 108_400.0]),  # Mount Everest
        ("msl", 1e5, [87_000.0, 108_480.0]),  # Tip, Agata
        ("u10", 0.0, [113.2, -100.0]),  # Barrow Island
        ("hurs", 60.0, [-0.1, 104.0]),
        ("sic", 0.1, [999.0]),
    ],
)
def test_records_are_no_codes(tmp_path, name, usual, values):
    for value in values:
        path = spoilt(tmp_path / f"{value}.nc", value, name, usual=usual)
        found = load_checked_fields(open_fields(path))[name].sel(lat=20, lon=90, time="2000-02-15")
        assert float(found.squeeze()) == pytest.approx(value)


def test_every_observed_and_modelled_variable_has_limits_around_its_usual_range():
    assert PLAUSIBLE_RANGES.keys() == OBSERVED_VARIABLES.keys()
    for limits, usual, _ in PLAUSIBLE_RANGES.values():
        assert limits[0] <= usual[0] < usual[1] <= limits[1]


def test_levels_have_the_limits_of_their_family(tmp_path):
    ds = fields("t2m", usual=230.0).rename(t2m="ta").expand_dims(plev=[85_000.0, 50_000.0], axis=1)
    ds = ds.copy(deep=True)
    ds["plev"].attrs["units"] = "Pa"
    ds["ta"][2, 1, 0, 0] = -999
    ds.to_netcdf(tmp_path / "a.nc")
    out = open_fields(tmp_path / "a.nc")
    load_checked_fields(out[["t850"]])
    with pytest.raises(DpdmError, match=r"t500 is -999 K in 1 of 84 cells at 2000-03-15"):
        load_checked_fields(out)
    assert (
        int(
            load_checked_fields(open_fields(tmp_path / "a.nc", missing={"t": (-999,)}))["t500"]
            .isnull()
            .sum()
        )
        == 1
    )


def test_an_infinite_error_or_height_is_refused(tmp_path):
    path = tmp_path / "s.csv"
    for name in ("error", "elevation"):
        path.write_text(
            f"time,lat,lon,{name},variable,value,units\n2000-01-15,1,2,inf,t2m,280,K\n"
        )
        with pytest.raises(DpdmError, match=f"line 2: {name} is inf"):
            read_observations([path])


def test_a_height_of_minus_999_m_is_a_code_only_where_it_stands_apart():
    values = np.array([-60.0, 120.0, -999.0])
    assert list(matches_code(values, MISSING_VALUE_CODES)) == [False, False, True]


def test_members_are_named(tmp_path):
    ds = fields().expand_dims(number=[1, 2]).copy(deep=True)
    ds["t2m"][1, 0, 0, 0] = -999
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError, match="of member 2 at 2000-01-15T00:00, first at latitude 30"):
        load_checked_fields(open_fields(tmp_path / "a.nc"))


def test_a_wrong_unit_is_not_taken_for_a_code(tmp_path):
    ds = fields()
    ds["t2m"] = (ds["t2m"] - 273.15).assign_attrs(units="K")
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError, match="a median of") as refusal:
        open_fields(tmp_path / "a.nc")
    assert "--units t2m=degC" in refusal.value.hint


@pytest.mark.parametrize(
    ("name", "usual", "units", "what", "hint"),
    [
        ("t2m", 15.0, "K", "median of 15", "--units t2m=degC"),
        ("t2m", 280.0, "degC", "median of 55", "--units t2m=K"),
        ("t2m", 70.0, "degC", "median of 343", "--units t2m=degF"),
        ("sp", 1000.0, "Pa", "median of 100", "--units sp=hPa"),
        ("msl", 1e5, "hPa", "median of 1.0", "--units msl=Pa"),
        ("tp", -2.0, "mm/day", "median of -2", "--units tp=UNIT"),
        ("tp", 100.0, "m/day", "a median of 1.", "--units tp=UNIT"),
    ],
)
def test_a_wrong_unit_is_refused_with_the_likely_one(tmp_path, name, usual, units, what, hint):
    fields(name, units, usual).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError) as refusal:
        open_fields(tmp_path / "a.nc")
    assert what in refusal.value.what
    assert hint in refusal.value.hint


def test_most_of_a_field_may_be_a_code(tmp_path):
    ds = fields()
    ds["t2m"][:, :, 2:] = -999
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError, match="t2m is -999 K in 70 of 84 cells") as refusal:
        open_fields(tmp_path / "a.nc")
    assert "--missing -999" in refusal.value.hint
    assert (
        int(
            load_checked_fields(open_fields(tmp_path / "a.nc", missing={"": (-999,)}))[
                "t2m"
            ].count()
        )
        == 42
    )


def test_packed_codes_are_declared_as_they_are_read(tmp_path):
    ds = fields()
    ds["t2m"][0, 0, 0] = -99.9
    packing = {"dtype": "i2", "scale_factor": 0.03, "add_offset": 273.0, "_FillValue": -32768}
    ds.to_netcdf(tmp_path / "a.nc", encoding={"t2m": packing})
    with pytest.raises(DpdmError, match=r"t2m is -99\.9\d* K in 1 of 84"):
        load_checked_fields(open_fields(tmp_path / "a.nc"))
    out = load_checked_fields(open_fields(tmp_path / "a.nc", missing={"": (-99.9,)}))
    assert int(out["t2m"].isnull().sum()) == 1


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("stored", "said"), [(-99.9, -99.9), (9.969209968386869e36, 9.97e36)])
def test_a_declared_code_is_compared_in_the_precision_of_the_file(tmp_path, dtype, stored, said):
    ds = fields()
    ds["t2m"][0, 0, 0] = stored
    ds["t2m"] = ds["t2m"].astype(dtype)
    ds.to_netcdf(tmp_path / "a.nc", encoding={"t2m": {"_FillValue": None}})
    out = load_checked_fields(open_fields(tmp_path / "a.nc", missing={"": (said,)}))
    assert int(out["t2m"].isnull().sum()) == 1
    assert bool(out["t2m"][0, -1, 0].isnull())


def test_what_is_declared_of_a_variable_that_is_not_read_is_refused(tmp_path):
    fields().to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError, match="A missing value is declared for tn2"):
        open_fields(tmp_path / "a.nc", missing={"tn2": (0.0,)})


def test_a_declared_code_in_a_table_is_missing(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("time,lat,lon,t2m [degC],tp [mm/day]\n2000-01-15,1,2,-7,-7\n")
    table = read_observations([path], missing={"tp": (-7.0,)})
    assert dict(zip(table["variable"], table["status"], strict=True)) == {
        "t2m": "",
        "tp": "missing",
    }


@pytest.fixture
def late(here: Path) -> Path:
    """Return coarse fields with -999 in one cell of the last month, coarse.nc replaced."""
    ds = coarse_world()
    ds["t2m"][2, 1, 1] = -999
    ds.to_netcdf("coarse.nc")
    return here


COMMANDS = {
    "downscale": "downscale coarse.nc out.nc --prior prior.safetensors --mean",
    "lerp": "lerp coarse.nc out.nc --factor 2",
    "coarsen": "coarsen coarse.nc out.nc --factor 2",
    "evaluate": "evaluate coarse.nc coarse.nc",
    "export": "export coarse.nc out.nc --variable t2m",
    "plot": "plot coarse.nc out.png --variable t2m --time 2000-03",
    "train": "train fine.nc --out out.safetensors --coarse coarse.nc --config small.toml",
    "assimilate": "assimilate s.csv out.nc --coarse coarse.nc --members 1 "
    "--prior prior.safetensors",
    "observe": "observe coarse.nc out.nc --config obs.toml",
}
OBS = '[what]\nvariables = ["t2m"]\n[where]\nrandom = 3\n[error]\nstd = [1.0]\n'


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_command_refuses_an_undeclared_code_and_obeys_its_hint(late, command):
    Path("s.csv").write_text("time,lat,lon,t2m [K]\n2000-03-01,30,120,280\n")
    Path("obs.toml").write_text(OBS)
    refused(command, r"t2m is -999 K in 1 of 96 cells at 2000-03-01", "--missing -999")
    done(*command.split(), "--missing", "-999")


def test_a_missing_cell_is_not_zero_kelvin(late):
    done(*COMMANDS["coarsen"].split(), "--missing", "t2m=-999")
    with xr.open_dataset("out.nc") as out, xr.open_dataset("coarse.nc") as given:
        good = given["t2m"][2, :2, :2].values.ravel()[:3]
        assert good.min() <= float(out["t2m"][2, 0, 0]) <= good.max()


def test_perturb_and_embed_refuse_it_in_the_state(here):
    with xr.open_dataset("fine.nc") as ds:
        fine = ds.load()
    fine["t2m"][1, 3, 4] = -999
    fine.to_netcdf("state.nc")
    for command in ("perturb state.nc out.nc --members 2", "embed state.nc out.nc"):
        told = dpdm(*f"{command} --prior prior.safetensors".split())
        assert "t2m is -999 K in 1 of 1536 cells at 2000-02-01" in told.stderr
        told = dpdm(*f"{command} --prior prior.safetensors --missing -999".split())
        assert "t2m is missing in 1 of 1536 cells" in told.stderr

"""Outputs in the units that the user wants: the same fields, and attributes that say so."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.output_units import OutputUnit
from dpdm.fields.units import parse_unit
from dpdm.plot.data import PlotOptions, open_plot_data
from tests.helpers.reconstruction import opened, plan
from tests.helpers.small_world import coarse_world, done, refused, summed

DRAW = "downscale coarse.nc {} --prior prior.safetensors --members 3 --steps 2 --seed 4"
UNITS = ("--out-units", "degC", "--out-units", "tp=mm/month")
DAYS = xr.DataArray([31.0, 29.0, 31.0], dims="time")  # January to March 2000
STATISTICS = ("", "_mean", "_p10", "_p50", "_p90")


def load(path: str) -> xr.Dataset:
    with xr.open_dataset(path) as ds:
        return ds.load()


@pytest.fixture
def drawn(here: Path) -> xr.Dataset:
    """An ensemble in the units of its input, K and mm day-1, in fine.nc."""
    done(*DRAW.format("-o fine.nc --overwrite").split())
    return load("fine.nc")


def check(out: xr.Dataset, drawn: xr.Dataset, statistics: tuple[str, ...] = STATISTICS) -> None:
    """Compare temperature in degC and rain in mm a month with an ensemble in K and mm a day."""
    for kind in statistics:
        t2m, tp = out[f"t2m{kind}"], out[f"tp{kind}"]
        np.testing.assert_allclose(t2m, drawn[f"t2m{kind}"] - 273.15, atol=4e-5)  # float32, 300 K
        np.testing.assert_allclose(tp, drawn[f"tp{kind}"] * DAYS, rtol=1e-6)
        assert (t2m.attrs["units"], tp.attrs["units"]) == ("degC", "mm/month")
        assert tp.attrs["standard_name"] == "lwe_precipitation_rate"
    np.testing.assert_allclose(out["t2m_spread"], drawn["t2m_spread"], atol=1e-6)
    np.testing.assert_allclose(out["tp_spread"], drawn["tp_spread"] * DAYS, rtol=1e-6)
    assert out["t2m_spread"].attrs["units"] == "degC"
    assert out["t2m_spread"].attrs["units_metadata"] == "temperature: difference"
    assert out["t2m_p90"].attrs["units_metadata"] == "temperature: on_scale"


def test_members_and_statistics_are_drawn_and_exported_in_other_units(
    here: Path, drawn: xr.Dataset
) -> None:
    done(*DRAW.format("out.nc").split(), *UNITS)
    check(load("out.nc"), drawn)
    done("export", "fine.nc", "copy.nc", *UNITS)  # its statistics are stored, not computed
    check(load("copy.nc"), drawn)
    done("export", "copy.nc", "back.nc", "--out-units", "K", "--out-units", "tp=kg m-2 s-1")
    back = load("back.nc")
    np.testing.assert_allclose(back["t2m"], drawn["t2m"], atol=6e-5)
    np.testing.assert_allclose(back["tp_spread"] * 86400, drawn["tp_spread"], rtol=1e-6)
    assert back["tp_p50"].attrs["standard_name"] == "precipitation_flux"


def test_a_plan_has_the_units_of_its_output(here: Path, drawn: xr.Dataset) -> None:
    path = plan(here, files='"coarse.nc"', keep="all")
    keys = '[output]\nunits = { t2m = "degC", tp = "mm/month" }'
    path.write_text(path.read_text().replace("[output]", keys).replace("[draw]", "[draw]\nseed=4"))
    done("reconstruct", "plan.toml", "out")
    with opened(Path("out")) as out:
        check(out.load(), drawn)
    path.write_text(path.read_text().replace("mm/month", "mm"))
    refused("reconstruct plan.toml other", "amount per step", 'as in units = { tp = "mm/day" }')


def test_amounts_and_rates_by_the_bounds_of_their_steps(here: Path) -> None:
    summed(coarse_world()).to_netcdf("sums.nc")
    rain = load("coarse.nc")["tp"]
    done("coarsen", "sums.nc", "rate.nc", "--factor", 2, "--out-units", "tp=mm/day")
    done("coarsen", "coarse.nc", "plain.nc", "--factor", 2)
    done("coarsen", "rate.nc", "again.nc", "--factor", 2, "--out-units", "tp=mm")
    done("coarsen", "sums.nc", "sums_4.nc", "--factor", 4)
    rate, again = load("rate.nc")["tp"], load("again.nc")["tp"]
    np.testing.assert_allclose(rate, load("plain.nc")["tp"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(again, load("sums_4.nc")["tp"], rtol=1e-5, atol=1e-5)
    assert again.attrs["standard_name"] == "lwe_thickness_of_precipitation_amount"
    assert again.attrs["cell_methods"] == "time: sum"
    assert parse_unit(rate.attrs["units"]) == parse_unit("mm day-1")
    assert float(rain.mean()) == pytest.approx(float(rate.mean()), rel=0.05)


def test_pictures_tables_and_thresholds_are_in_the_units_asked_for(
    here: Path, drawn: xr.Dataset
) -> None:
    for unit, label, shift in (("degC", "°C", 273.15), ("K", "K", 0.0), ("degF", "degF", None)):
        shown = open_plot_data(
            Path("fine.nc"), PlotOptions(out_units=(OutputUnit("t2m", unit),))
        ).source
        assert (shown.units, shown.count) == (label, 3)
        wanted = drawn["t2m"] * 1.8 - 459.67 if shift is None else drawn["t2m"] - shift
        got = shown.full_array.transpose(*wanted.dims)
        np.testing.assert_allclose(got, wanted, atol=2e-4)
    options = PlotOptions(truth=Path("coarse.nc"), out_units=(OutputUnit("", "degC"),))
    truth = open_plot_data(Path("fine.nc"), options).truth
    assert truth is not None
    np.testing.assert_allclose(truth.full_array, load("coarse.nc")["t2m"] - 273.15, atol=1e-4)
    Path("stations.csv").write_text("name,lat,lon\nA,40.5,120.5\n")
    select = ("--variable", "t2m", "--out-units", "degC", "--points", "stations.csv")
    done("export", "fine.nc", "out.csv", *select, "--stat", "mean")
    head, first = Path("out.csv").read_text().splitlines()[:2]
    assert "t2m_mean [degC]" in head
    place = drawn["t2m_mean"].sel(lat=40.5, lon=120.5)[0]
    assert float(first.split(",")[-1]) == pytest.approx(float(place) - 273.15, abs=1e-3)
    done("export", "fine.nc", "p.nc", "--variable", "t2m", "--out-units", "degC", "--stat",
         "probability>10")  # fmt: skip
    warm = (drawn["t2m"] > 283.15).mean("realization")
    np.testing.assert_allclose(load("p.nc")["t2m_probability"], warm, atol=1e-6)


REFUSED = {
    "export coarse.nc out.nc --units tp=mm/month": (
        "coarse.nc: the file states that tp is in 'mm day-1', and --units converts nothing",
        "correct it: ncatted -a units,tp,o,c,'mm/month' coarse.nc.",
    ),
    "plot coarse.nc out.png --units t2m=degC": ("t2m is in 'K', and --units converts", ""),
    "export coarse.nc out.nc --out-units t2m=mm": (r"t2m \[K\] cannot be converted to mm", "same"),
    "export coarse.nc out.nc --out-units sst=K": ("the output does not have: sst", "t2m [K]"),
    "export coarse.nc out.nc --out-units hPa": ("hPa fits no variable", "t2m [K]"),
    "export coarse.nc out.nc --out-units parsnip": ("'parsnip' is not a unit", "--out-units"),
    "export coarse.nc out.nc --out-units K --out-units t2m=degC": ("two units, K and degC", ""),
    "export coarse.nc out.nc --out-units tp=mm": ("is an amount per step", "tp=mm/day"),
    "export coarse.nc o.nc --variable t2m --out-units mm/day": ("fits no variable", "t2m [K]"),
    "export winds.nc out.nc --out-units mm/day": ("fits tp and u10", "--out-units tp=mm/day"),
    "plot coarse.nc out.png --variable t2m --out-units tp=mm/day": (
        "does not have: tp",
        "t2m [K]",
    ),
    "plot coarse.nc out.png --kind rank --out-units K": ("rank does not use --out-units", ""),
}


@pytest.mark.parametrize("command", REFUSED)
def test_units_that_would_do_nothing_or_do_not_fit_are_refused(here: Path, command: str) -> None:
    if "winds" in command:
        ds = coarse_world()
        wind = ds["tp"].assign_attrs(units="m s-1", standard_name="eastward_wind")
        ds.assign(u10=wind).to_netcdf("winds.nc")
    refused(command, *REFUSED[command])


def test_a_unit_that_a_file_lacks_may_be_declared(here: Path) -> None:
    ds = coarse_world()
    del ds["tp"].attrs["units"]
    ds.to_netcdf("bare.nc")
    done("export", "bare.nc", "out.nc", "--units", "tp=mm/day", "--out-units", "tp=mm/month")
    np.testing.assert_allclose(load("out.nc")["tp"], ds["tp"] * DAYS, rtol=1e-6)

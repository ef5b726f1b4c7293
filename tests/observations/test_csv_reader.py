"""Observations: files as people have them, read to numbers worked by hand, or refused."""

import cftime
import numpy as np
import pandas as pd
import pytest

from dpdm.errors import DpdmError
from dpdm.fields.date_formats import parse_times
from dpdm.observations.table import read_observations
from dpdm.observations.values import USUAL_ERRORS as USUAL
from tests.helpers.observation_files import EXACT, read, refuse

LONG = """Station,Date,Latitude,Longitude,Altitude,Variable,Value,Sigma,Units
A,2000-02-15,37.5,127.0,85,t2m,1.5,0.5,degC
A,2000-02-15,37.5,127.0,85,tp,58,2.9,mm/month
B,2000-03-15,-33.25,-58.5,,t2m,5.25,0.25,degC
B,2000-03-15,-33.25,-58.5,,tp,31,3.1,mm/month
"""
WIDE = """station,time,lat,lon,elevation [m],t2m [degC],t2m_error,tp (mm/month),tp_error
A,2000-02-15,37.5,127.0,85,1.5,0.5,58,2.9
B,2000-03-15,-33.25,-58.5,NA,5.25,0.25,31,3.1
"""
VALUES = {("A", "t2m"): 274.65, ("A", "tp"): 2.0, ("B", "t2m"): 278.4, ("B", "tp"): 1.0}
ERRORS = {("A", "t2m"): 0.5, ("A", "tp"): 0.1, ("B", "t2m"): 0.25, ("B", "tp"): 0.1}
ONE = "time,lat,lon,variable,value,units\n2000-01-15,10,20,{},{},{}\n"


def comma(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        WIDE,
        comma(LONG),
        comma(WIDE),
        LONG.replace(",", "\t"),
        "# made by hand\n\n" + LONG.replace("\n", "\r\n"),
        LONG.encode("utf-8-sig"),
        LONG.encode("utf-16"),
        LONG.replace("degC", "°C").encode("latin-1"),
        LONG.replace("Altitude", "elev").replace("Sigma", "Uncertainty").upper(),
        LONG.replace("Variable", "var").replace("Value", "obs").replace("t2m", "air_temperature"),
        LONG.replace("2000-02-15", "20000215").replace("2000-03-15", "2000/3/15"),
        WIDE.replace("time", "year,month").replace("2000-0", "2000,").replace("-15,", ","),
    ],
)
def test_one_table_however_it_is_written(tmp_path, text):
    table = read(tmp_path, text)
    index = list(zip(table["station"], table["variable"], strict=True))
    assert sorted(index) == sorted(VALUES)
    np.testing.assert_allclose(table["value"], [VALUES[i] for i in index], rtol=EXACT)
    np.testing.assert_allclose(table["error"], [ERRORS[i] for i in index], rtol=EXACT)
    assert list(table["units"]) == [{"t2m": "K", "tp": "mm day-1"}[name] for _, name in index]
    assert set(zip(table["lat"], table["lon"], strict=True)) == {(37.5, 127.0), (-33.25, -58.5)}
    assert table["elevation"].max() == 85
    assert table["elevation"].isna().sum() == 2
    assert set(table["time"].dt.strftime("%Y-%m")) == {"2000-02", "2000-03"}
    assert (table["status"] == "").all()
    assert set(table["source"]) == {"obs.csv"}


def test_what_is_written_is_read(tmp_path):
    rng = np.random.default_rng(0)
    made = pd.DataFrame(
        {
            "time": pd.date_range("1990-01-01", periods=50, freq="37h").strftime("%Y-%m-%dT%H:%M"),
            "lat": rng.uniform(-90, 90, 50),
            "lon": rng.uniform(-180, 360, 50),
            "elevation": rng.uniform(-400, 6000, 50),
            "variable": rng.choice(["u10", "sp", "state"], 50),
            "value": rng.uniform(5e4, 9e4, 50),
            "error": rng.uniform(1, 2, 50),
        }
    )
    made.loc[made["variable"] == "u10", "value"] /= 1e4
    made["units"] = made["variable"].map({"u10": "m s-1", "sp": "Pa", "state": "1"})
    table = read(tmp_path, made.to_csv(index=False))
    pd.testing.assert_frame_equal(
        table[list(made)], made.assign(time=pd.to_datetime(made["time"])), check_dtype=False
    )
    assert list(table["row"]) == list(range(2, 52))


@pytest.mark.parametrize(
    ("name", "unit", "cell", "value"),
    [
        ("t2m", "degC", "-999", None),
        ("t2m", "degC", "-9999", None),
        ("t2m", "K", "1e20", None),
        ("t2m", "K", "inf", None),
        ("t2m", "degC", "-99.9", None),
        ("t2m", "degF", "-99.9", (-99.9 + 459.67) * 5 / 9),
        ("t2m", "degC", "99.9", None),
        ("tp", "mm/day", "-99.9", None),
        ("tp", "mm/day", "99.9", 99.9),
        ("tp", "mm/day", "999", 999.0),
        ("u10", "m/s", "-99.9", None),
        ("msl", "Pa", "99999", 99999.0),
        ("msl", "hPa", "9999", None),
        ("t2m", "K", "NA", None),
        ("t2m", "K", "", None),
        ("t2m", "K", "M", None),
        ("tp", "mm/day", "-0.0005", 0.0),
        ("state", "1", "-99.9", -99.9),
    ],
)
def test_codes_are_missing_only_where_they_can_be_no_value(tmp_path, name, unit, cell, value):
    row = read(tmp_path, ONE.format(name, cell, unit), errors={name: 1.0}).iloc[0]
    assert row["status"] == ("missing" if value is None else "")
    np.testing.assert_allclose(row["value"], np.nan if value is None else value, rtol=EXACT)


def test_an_impossible_value_is_marked_not_dropped(tmp_path):
    table = read(tmp_path, ONE.format("tp", -5, "mm/day") + "2000-01-15,10,20,tp,5,mm/day\n")
    assert list(table["status"]) == ["impossible value", ""]


def test_noise_may_carry_a_value_a_little_beyond(tmp_path):
    text = "lat,lon,tp [mm/day],tp_error\n1,2,-2,0.5\n1,3,-2,0.3\n1,4,-99.9,0.5\n1,5,-2,\n"
    table = read(tmp_path, text)
    assert list(table["status"]) == ["", "impossible value", "missing", "impossible value"]
    assert table["value"][0] == -2


def test_a_month_is_as_long_as_in_its_calendar(tmp_path):
    text = "time,lat,lon,tp [mm/month]\n2001-02-28,1,2,60\n2001-02-{},1,2,60\n2001-03-01,1,2,60\n"
    leap = read(tmp_path, text.format("01"))
    np.testing.assert_allclose(leap["value"], [60 / 28, 60 / 28, 60 / 31], rtol=EXACT)
    thirty = read(tmp_path, text.format("30"))
    np.testing.assert_allclose(thirty["value"], [2, 2, 2], rtol=EXACT)
    undated = read(tmp_path, "lat,lon,tp [mm/month]\n1,2,60\n")
    np.testing.assert_allclose(undated["value"], 60 * 12 / 365.25, rtol=EXACT)


def test_only_undated_rows_take_a_mean_month(tmp_path):
    table = read(tmp_path, "time,lat,lon,tp [mm/month]\n2001-02-01,1,2,60\n,1,2,60\n")
    np.testing.assert_allclose(table["value"], [60 / 28, 60 * 12 / 365.25], rtol=EXACT)


def test_codes_of_place_are_missing(tmp_path):
    text = "lat,lon,elev [ft],t2m [K]\n-999,2,-999,280\n1,2,-999,280\n1,2,100,280\n"
    table = read(tmp_path, text)
    assert list(table["status"]) == ["no position", "", ""]
    np.testing.assert_allclose(table["elevation"], [np.nan, np.nan, 30.48], rtol=EXACT)


def test_hints_name_the_options_of_observations(tmp_path):
    with pytest.raises(DpdmError, match="cannot be converted to K") as fault:
        read(tmp_path, "lat,lon,t2m [m]\n1,2,280\n")
    assert "--obs-units t2m=" in fault.value.hint


def test_errors_are_differences(tmp_path):
    """One degree Fahrenheit is 5/9 K wherever it is; a pressure's scales alike."""
    text = "lat,lon,t2m [degF],t2m_std,sp [hPa],sp_std [Pa]\n1,2,50,9,1000,150\n"
    table = read(tmp_path, text).set_index("variable")
    np.testing.assert_allclose(table.loc["t2m", "error"], 5.0, rtol=EXACT)
    np.testing.assert_allclose(table.loc["t2m", "value"], 283.15, rtol=EXACT)
    np.testing.assert_allclose(table.loc["sp", ["value", "error"]].astype(float), [1e5, 150])


def test_an_error_is_the_rows_then_the_users_then_the_usual(tmp_path):
    text = "lat,lon,tp [mm/day],error_tp,tp_error,t2m [K]\n1,2,10,7,0.5,280\n1,3,10,7,,280\n"
    table = read(tmp_path, text)
    assert list(table["error"]) == [0.5, 2.3, 1.0, 1.0]
    stated = read(tmp_path, text, errors={"tp": 4.0})
    assert list(stated["error"]) == [0.5, 4.0, 1.0, 1.0]


def test_the_usual_errors_are_those_that_are_documented():
    said = dict(USUAL)
    wind, pressure = (1.0, 0.0), (100.0, 0.0)
    assert np.isnan(said.pop("tb")[0])  # its channel says
    assert said == {
        **{"t2m": (1.0, 0.0), "tp": (0.3, 0.2), "sp": pressure, "msl": pressure},
        **{"u10": wind, "v10": wind, "t": (1.0, 0.0), "u": (2.0, 0.0), "v": (2.0, 0.0)},
        **{"q": (1e-4, 0.1), "r": (10.0, 0.0), "gh": (15.0, 0.0), "z": (150.0, 0.0)},
        **{"rlut": (30.0, 0.0)},
    }


def test_the_users_words_go_before_the_files(tmp_path):
    text = "lat,lon,temp,rain [mm/day],warm [K]\n1,2,50,3,290\n"
    declared = read(tmp_path, text, units={"t2m": "degF"}, rename={"t2m": "temp"})
    assert list(declared["variable"]) == ["t2m", "tp"]
    np.testing.assert_allclose(declared["value"][0], 283.15, rtol=EXACT)
    renamed = read(tmp_path, text, rename={"t2m": "warm"}).set_index("variable")
    assert dict(renamed["value"]) == {"t2m": 290.0, "tp": 3.0}


@pytest.mark.parametrize(
    ("text", "what", "said"),
    [
        ("2000-01-01,1,2,3\n2000-01-02,1,2,3\n", "no header", {}),
        ("Seoul,2000-01-01,37,127,t2m,2\nSeoul,2000-01-02,37,127,t2m,3\n", "no header", {}),
        ("lat,lon,\u6c17\u6e29(K)\n1,2,280\n", "the columns are lat, lon, \u6c17\u6e29\\. ", {}),
        ("a,b\n1,2\n", "no column is a known variable.*a, b", {}),
        ("lat,lon,value\n1,2,3\n", "no variable column", {}),
        ("", "empty", {}),
        ("lat,lon,t2m [K]\n", "no observation", {}),
        (b"PK\x03\x04\x00\x00", "neither text nor NetCDF", {}),
        ("lat,lon,t2m [K]\n1,2,280\n1,2,28,1\n", "line 3: there are 4 cells", {}),
        ("lat,lon,t2m [K]\n1,2,280\n1,2,warm\n", "line 3: t2m .K. is 'warm'", {}),
        ("time,lat,lon,t2m [K]\n15/01/2000,1,2,280\n", "'15/01/2000' is not a date", {}),
        ("time,lat,lon,t2m [K]\n0000-01-01,1,2,280\n", "'0000-01-01' is not a date", {}),
        (f'lat,lon,t2m [K]\n1,2,"{"280" * 99999}', "not a table", {}),
        ("time,lat,lon,t2m [K]\n2000-13-01,1,2,280\n", "'2000-13-01' is not a date", {}),
        ("time,lat,lon,t2m [K]\n1999,1,2,280\n2000,1,2,280\n", "1999 may be a year", {}),
        ("lat,lon,t2m\n1,2,280\n", "t2m has no units", {}),
        ("lat,lon,t2m [bananas]\n1,2,280\n", "bananas", {}),
        ("lat,lon,t2m [m]\n1,2,280\n", "cannot be converted to K", {}),
        ("lat,lon,tp [mm]\n1,2,280\n", "an amount", {}),
        ("lat,lon,tp [kg m-2]\n1,2,280\n", "an amount", {}),
        ("lat,lon,t2m [K],temp [K]\n1,2,280,280\n", "t2m and temp may each be t2m", {}),
        ("lat,lon,t2m [degC]\n1,2,10\n1,2,283\n", "line 3: t2m is 283 .*degC.* in K.*mix", {}),
        ("lat,lon,msl [Pa]\n1,2,1013\n", "line 2: msl is 1013 .*in hPa", {}),
        ("lat,lon,t2m [K],t2m_error\n1,2,280,1\n1,2,280,0\n", "line 3: the error of t2m is 0", {}),
        ("lat,lon,t2m [K],t2m_error\n1,2,280,-1\n", "line 2: the error of t2m is -1", {}),
        ("lat,lon,variable,value\n1,2,state,3\n", "state has no error", {}),
        ("lat,lon,t2m [K]\n120,37,280\n", "look swapped", {}),
        ("lat,lon,t2m [K]\n37,120,280\n120,37,280\n", "line 3: .* 120: .*swapped. .* its", {}),
        ("lat,lon,t2m [K]\n95,170,280\n", "line 2: the position is latitude 95", {}),
        ("lat,lon,t2m [K]\n5,370,280\n", "longitude 370", {}),
        ("lat,lon,elevation [K],t2m [K]\n5,37,1,280\n", "elevation is in 'K'", {}),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, text, what, said):
    refuse(tmp_path, text, what, **said)


def test_slips_of_the_pen_are_refused(tmp_path):
    text = "lat,lon,t2m [K]\n1,2,280\n"
    for said in ({"errors": {"tp": 1.0}}, {"units": {"tpp": "mm/day"}}):
        with pytest.raises(DpdmError, match="named in an option, but no file has it"):
            read(tmp_path, text, **said)
    with pytest.raises(DpdmError, match="error of t2m is 0"):
        read(tmp_path, text, errors={"t2m": 0.0})
    with pytest.raises(DpdmError, match=r"absent\.csv does not exist"):
        read_observations([tmp_path / "absent.csv"])
    with pytest.raises(DpdmError, match="No observation file"):
        read_observations([])


@pytest.mark.parametrize(
    ("cell", "iso"),
    [
        ("2000-01", "2000-01-01T00:00"),
        ("2000-1-5 6:30", "2000-01-05T06:30"),
        ("2000-01-05T06:30:15.5Z", "2000-01-05T06:30:15"),
        ("2000-01-05T06:30+09:00", "2000-01-04T21:30"),
        ("2000-01-05T22:30-0300", "2000-01-06T01:30"),
        ("2000010506", "2000-01-05T06:00"),
        ("200001050630", "2000-01-05T06:30"),
        ("200001", "2000-01-01T00:00"),
    ],
)
def test_dates(cell, iso):
    assert parse_times([cell])[0] == np.datetime64(iso)


def test_times_that_are_no_dates_of_ours():
    assert parse_times(["0", "2.5", ""])[:2].tolist() == [0.0, 2.5]
    thirty = parse_times(["2001-02-30", "2001-03-01"])
    assert thirty[0] == cftime.datetime(2001, 2, 30, calendar="360_day")
    assert parse_times(["1500-07-01"])[0].calendar == "standard"


def test_a_date_and_a_clock_of_their_own(tmp_path):
    table = read(tmp_path, "date,time,lat,lon,t2m [K]\n2000-01-05,06:30,1,2,280\n")
    assert table["time"][0] == pd.Timestamp("2000-01-05T06:30")

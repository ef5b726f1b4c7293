"""Files of archives by their documented layout: GHCN-Monthly v4, ISD, GHCNh; lists of stations."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpdm.errors import DpdmError
from dpdm.observations.table import read_observations
from tests.helpers.observation_files import EXACT, read

INVENTORY = (
    "ACW00011604  57.7667   11.8667   18.0 SAVE\n"
    "AE000041196  25.3330   55.5170 -999.0 SHARJAH_INTER_AIRP\n"
)


def month(value: int, flags: str = "   ") -> str:
    return f"{value:5d}{flags}"


def line(station: str, year: int, months: list[str], element: str = "TAVG") -> str:
    return f"{station:11s}{year:4d}{element}{''.join(months)}\n"


YEAR = [month(100 * m, " Xa" if m == 3 else "E a") for m in range(12)]  # March fails a check
GHCN = line("ACW00011604", 1961, [month(-89, "  a"), *YEAR[1:11], month(-9999)]) + line(
    "AE000041196", 1944, YEAR
)


@pytest.fixture
def ghcn(tmp_path: Path) -> Path:
    (tmp_path / "ghcnm.dat").write_text(GHCN)
    (tmp_path / "ghcnm.inv").write_text(INVENTORY)
    return tmp_path / "ghcnm.dat"


def test_months_of_ghcn_are_read_with_their_flags(ghcn):
    table = read_observations([ghcn])
    assert len(table) == 24
    assert table["status"].value_counts().to_dict() == {
        "": 21, "flagged in its file": 2, "missing": 1
    }  # fmt: skip
    first = table.iloc[0]
    np.testing.assert_allclose(first["value"], 273.15 - 0.89, rtol=EXACT)
    assert (first["station"], first["row"], first["units"]) == ("ACW00011604", 1, "K")
    assert first[["lat", "lon", "elevation"]].to_list() == [57.7667, 11.8667, 18.0]
    assert list(table["time"][:2]) == [pd.Timestamp("1961-01-01"), pd.Timestamp("1961-02-01")]
    second = table[table["row"] == 2]
    assert second["elevation"].isna().all()
    np.testing.assert_allclose(
        second["value"], [np.nan if m == 3 else 273.15 + m for m in range(12)], rtol=EXACT
    )


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("ghcnm.dat", GHCN + line("ZZW00000000", 1990, YEAR), r"ghcnm\.inv lacks ZZW00000000"),
        ("ghcnm.dat", GHCN.replace("TAVG", "TMAX"), "its element is TMAX"),
        ("ghcnm.dat", GHCN.replace("  200E", "  2x0E"), "lines 1, 2: a value is '2x0'"),
        ("ghcnm.inv", "lat,lon\n1,2\n", "line 1 is not of an inventory"),
    ],
)
def test_ghcn_that_cannot_be_read_is_refused(ghcn, name, text, what):
    ghcn.with_name(name).write_text(text)
    with pytest.raises(DpdmError, match=what):
        read_observations([ghcn])


def test_ghcn_needs_its_inventory(ghcn):
    ghcn.with_suffix(".inv").rename(ghcn.with_name("other.inv"))
    assert len(read_observations([ghcn])) == 24  # the only one
    ghcn.with_name("more.inv").write_text(INVENTORY)
    with pytest.raises(DpdmError, match=r"no ghcnm\.inv.*more\.inv, other\.inv"):
        read_observations([ghcn])


ISD = """"STATION","DATE","SOURCE","LATITUDE","LONGITUDE","ELEVATION","NAME","WND","TMP","SLP"
"01001099999","2020-01-01T00:00:00","4","70.9","-8.6","9.0","JAN MAYEN","070,1,N,0070,1",{}
"01001099999","2020-01-01T03:00:00","4","70.9","-8.6","9.0","JAN MAYEN","999,9,V,0010,1",{}
"""


def test_hourly_isd_is_decoded(tmp_path):
    table = read(tmp_path, ISD.format('"-0070,1","09967,1"', '"+9999,9","10132,3"'))
    assert list(table["variable"]) == ["t2m", "t2m", "msl", "msl"]
    assert list(table["status"]) == ["", "missing", "", "flagged in its file"]
    np.testing.assert_allclose(table["value"], [266.15, np.nan, 99670, np.nan], rtol=EXACT)
    assert set(table["station"]) == {"01001099999"}
    assert table["time"][1] == pd.Timestamp("2020-01-01T03:00")


GHCNH = """\
Station_ID|Station_name|Year|Month|Day|Hour|Minute|Latitude|Longitude|Elevation|temperature\
|temperature_Measurement_Code|temperature_Quality_Code|precipitation\
|precipitation_Measurement_Code|precipitation_Quality_Code|dew_point_temperature
USW00094728|NEW YORK|2020|1|1|0|51|40.779|-73.969|42.7|5.0||1|0.5||5|1
USW00094728|NEW YORK|2020|1|1|1|51|40.779|-73.969|42.7|50.0||3|||| 1
USW00094728|NEW YORK|2020|1|1|2|51|40.779|-73.969|42.7|||||||1
"""


def test_hourly_ghcnh_is_read_with_its_quality_codes(tmp_path):
    table = read(tmp_path, GHCNH).set_index("variable")
    t2m, tp = table.loc["t2m"], table.loc["tp"]
    assert list(t2m["status"]) == ["", "flagged in its file", "missing"]
    assert list(tp["status"]) == ["", "missing", "missing"]
    np.testing.assert_allclose([t2m["value"].iloc[0], tp["value"].iloc[0]], [278.15, 12.0])
    assert t2m["time"].iloc[1] == pd.Timestamp("2020-01-01T01:51")
    assert set(table["elevation"]) == {42.7}


VALUES = "time,station,t2m [degC]\n1889-08,A,19\n1889-08,B,20\n1889-09,A,18\n"
LIST = "block,station,name,lat,lon,elev [ft]\n1,A,Upper,44,144,100\n2,B,Lower,43,143,\n"


def joined(folder: Path, values: str, stations: str) -> pd.DataFrame:
    (folder / "list.csv").write_text(stations)
    return read(folder, values, stations=folder / "list.csv")


def test_positions_come_from_a_list_of_stations(tmp_path):
    table = joined(tmp_path, VALUES, LIST)
    assert table["lat"].to_list() == [44, 43, 44]
    np.testing.assert_allclose(table["elevation"], [30.48, np.nan, 30.48], rtol=EXACT)
    by_name = joined(tmp_path, VALUES.replace("A", "Upper").replace("B", "Lower"), LIST)
    assert by_name["lon"].to_list() == [144, 143, 144]


def test_positions_beside_the_values_come_first(tmp_path):
    values = "station,lat,lon,elev,t2m [K]\nA,10,20,,280\nB,11,21,-999,281\nA,10,20,7,280\n"
    table = joined(tmp_path, values, LIST)
    assert table["lat"].to_list() == [10, 11, 10]
    np.testing.assert_allclose(table["elevation"], [30.48, np.nan, 7], rtol=EXACT)


@pytest.mark.parametrize(
    ("values", "stations", "what"),
    [
        (VALUES + "1889-10,C,1\n1889-10,D,1\n", LIST, "lacks C, D of the stations"),
        (VALUES, LIST + "3,A,Moved,45,145,\n", "line 4: A has a second position"),
        (VALUES, "name,lat\nA,1\n", "no column lon"),
        (VALUES.replace("station", "who"), LIST, "no column of stations"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(tmp_path, values, stations, what):
    with pytest.raises(DpdmError, match=re.escape(what)):
        joined(tmp_path, values, stations)

"""Tables as people have them: any heading, a row of units, and all faults of a file at once."""

import gzip

import numpy as np
import pandas as pd
import pytest

from dpdm.errors import DpdmError
from dpdm.observations.faults import MAX_FAULTS
from dpdm.observations.table import read_observations
from tests.helpers.observation_files import EXACT, read, refuse

HEADINGS = {
    "t2m": "tmean TAVG tmp tas T2M temperature Air-Temperature mean_temp Avg__Temp",
    "tp": "prcp precip rr pr Rain rainfall total-rain PRCP",
    "lat": "PRECISE_LATITUDE latitude lat LAT Station-Latitude",
    "lon": "PRECISE_LONGITUDE longitude LON long",
    "elevation": "elev height alt Altitude ELEVATION stelev Station_Height",
    "station": "station id NAME Station-Id wmo STATION_ID",
}
PLAIN = {
    "station": "A", "time": "2000-02-01", "lat": "37.5", "lon": "127", "elevation": "85",
    "t2m": "1.5", "tp": "2",
}  # fmt: skip
UNITS = {"t2m": "degC", "tp": "mm/day"}


def one_row(heads: dict[str, str]) -> str:
    names = [heads.get(role, role) for role in PLAIN]
    return f"{','.join(names)}\n{','.join(PLAIN.values())}\n"


@pytest.mark.parametrize(
    ("role", "heading"), [(role, each) for role, all_ in HEADINGS.items() for each in all_.split()]
)
def test_a_column_is_known_by_its_usual_names(tmp_path, role, heading):
    table = read(tmp_path, one_row({role: heading}), units=UNITS).set_index("variable")
    assert list(table.index) == ["t2m", "tp"]
    np.testing.assert_allclose(table["value"], [274.65, 2.0], rtol=EXACT)
    assert set(table["station"]) == {"A"}
    assert table[["lat", "lon", "elevation"]].drop_duplicates().to_numpy().tolist() == [
        [37.5, 127.0, 85.0]
    ]


def test_x_and_y_are_degrees_beside_variables_of_the_surface_only(tmp_path):
    table = read(tmp_path, "y,x,t2m [K]\n37.5,127,280\n")
    assert table[["lat", "lon"]].to_numpy().tolist() == [[37.5, 127.0]]
    plane = read(tmp_path, "y,x,variable,value,error\n3,4,vorticity,1,1\n")
    assert plane["lat"].isna().all()
    assert plane[["y", "x"]].to_numpy().tolist() == [[3, 4]]


@pytest.mark.parametrize(
    ("header", "cells", "month"),
    [
        ("year,month", "1950,7", "1950-07"),
        ("Year,Mon", "1950,Jul", "1950-07"),
        ("yyyymm", "195007", "1950-07"),
        ("YearMonth", "195007.0", "1950-07"),
        ("month", "1950-07", "1950-07"),
        ("year,month,day", "1950.0,7.0,15.0", "1950-07-15"),
        ("Year,Month,Day,Hour,Minute", "1950,7,15,6,30", "1950-07-15T06:30"),
    ],
)
def test_dates_in_any_number_of_columns(tmp_path, header, cells, month):
    table = read(tmp_path, f"{header},lat,lon,t2m [K]\n{cells},1,2,280\n")
    assert table["time"][0] == pd.Timestamp(month)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("lat,latitude,lon,t2m [K]\n1,1,2,280\n", "lat and latitude may each be the lat"),
        (
            "lat,lon,elev,height,t2m [K]\n1,2,3,4,280\n",
            "elev and height may each be the elevation",
        ),
        ("lat,lon,lon,t2m [K]\n1,2,2,280\n", "lon and lon may each be the lon"),
        ("lat,lon,tavg [K],tmean [K]\n1,2,280,281\n", "tavg and tmean may each be t2m"),
        ("year,lat,lon,t2m [K]\n1950,1,2,280\n", "a column year and none of months"),
    ],
)
def test_two_columns_for_one_thing_are_refused_by_name(tmp_path, text, what):
    refuse(tmp_path, text, what)


def test_the_user_chooses_between_two_columns(tmp_path):
    text = "lat,lon,elev,height,t2m [K]\n1,2,3,4,280\n"
    assert read(tmp_path, text, rename={"elevation": "height"})["elevation"][0] == 4


def test_a_second_row_may_give_the_units(tmp_path):
    text = "station,time,lat,lon,elev,tavg,prcp\n,,deg,degrees_east,ft,degF,mm/day\n"
    table = read(tmp_path, text + "A,2000-02-01,1,2,100,50,3\n").set_index("variable")
    np.testing.assert_allclose(table["value"], [283.15, 3.0], rtol=EXACT)
    np.testing.assert_allclose(table["elevation"], [30.48, 30.48], rtol=EXACT)
    assert set(table["row"]) == {3}
    plain = read(tmp_path, "lat,lon,t2m [K],note\n,,,K\n1,2,280,\n")
    assert len(plain) == 2  # a row of no values, whose last cell is no unit of anything


def test_a_unit_may_end_a_heading(tmp_path):
    table = read(tmp_path, "lat,lon,elevation_ft,temp_c,t_2m_error\n1,2,100,10,0.5\n")
    assert table.loc[0, "variable"] == "t2m"
    np.testing.assert_allclose(table["value"], 283.15, rtol=EXACT)
    np.testing.assert_allclose(table["elevation"], 30.48, rtol=EXACT)


def test_an_amount_of_a_whole_month_is_per_month(tmp_path):
    found = []
    (tmp_path / "obs.csv").write_text("year,month,lat,lon,rain\n,,,,mm\n2001,2,1,2,56\n")
    table = read_observations([tmp_path / "obs.csv"], on_layout=found.append)
    np.testing.assert_allclose(table["value"], 2.0, rtol=EXACT)
    assert found[0].notes == ["rain is in mm, and its times are months: mm/month is taken."]
    refuse(tmp_path, "time,lat,lon,rain [mm]\n2001-02-01,1,2,56\n", "an amount")


def test_the_unit_of_heights_is_said_where_it_is_assumed(tmp_path):
    notes = {}
    for unit in ("", " [m]", " [ft]"):
        found = []
        (tmp_path / "obs.csv").write_text(f"lat,lon,alt{unit},t2m [K]\n1,2,3,280\n")
        read_observations([tmp_path / "obs.csv"], on_layout=found.append)
        notes[unit] = found[0].notes
    assert notes == {
        "": ["alt has no unit; heights in metres are assumed."], " [m]": [], " [ft]": []
    }  # fmt: skip


def test_all_faults_are_told_at_once_with_the_lines_of_an_editor(tmp_path):
    text = (
        '# my stations\n\nstation,time,lat,lon,elev,t2m,tp\n,,,,m,degC,mm/day\n"two\nlines",'
        "2000-01-01,1,2,3,4,5\nA,2000-13-01,1,2,3,4,5\n\nB,2000-01-01,1,2,low,4,5\n"
        "# between\nC,2000-01-01,91,200,3,4,5\nD,2000-01-01,1,2,3\nE,2000-01-01,1,2,3,283,x\n"
    )
    with pytest.raises(DpdmError, match=r"obs\.csv: there are 6 faults") as fault:
        read(tmp_path, text)
    assert [line.split(" is ")[0] for line in fault.value.details] == [
        "line 7: '2000-13-01'",
        "line 9: elev [m]",
        "line 11: the position",
        "line 12: there are 5 cells where the header has 7.",
        "line 13: t2m",
        "line 13: tp [mm/day]",
    ]
    assert "Write a number" in fault.value.hint


def test_many_faults_are_counted(tmp_path):
    cells = "".join(f"1,2,w{i}\n" for i in range(100))
    with pytest.raises(DpdmError, match="there are 100 faults") as fault:
        read(tmp_path, f"lat,lon,t2m [K]\n{cells}")
    assert len(fault.value.details) == MAX_FAULTS + 1
    assert fault.value.details[0] == "line 2: t2m [K] is 'w0', not a number."
    assert fault.value.details[-1] == "and 80 more."


def test_equal_faults_are_told_once(tmp_path):
    refuse(tmp_path, "lat,lon,t2m [K]\n1,2,x\n1,2,280\n1,2,x\n", "lines 2, 4: t2m .* is 'x'")


def test_every_variable_without_a_unit_is_named(tmp_path):
    with pytest.raises(DpdmError) as fault:
        read(tmp_path, "lat,lon,t2m,tp,sp [hPa]\n1,2,280,3,1000\n")
    assert [d.partition(".")[0] for d in fault.value.details] == [
        "t2m has no units", "tp has no units"
    ]  # fmt: skip


def test_a_packed_table_is_read(tmp_path):
    text = "lat,lon,t2m [K]\n1,2,280\n"
    packed = gzip.compress(text.encode())
    pd.testing.assert_frame_equal(read(tmp_path, packed), read(tmp_path, text))
    with pytest.raises(DpdmError, match=r"obs\.csv"):
        read(tmp_path, packed[:20])

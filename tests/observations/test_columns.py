"""Observations that name an operator: read with its settings, in its own unit, or refused."""

import numpy as np
import pandas as pd
import pytest

from tests.helpers.observation_files import EXACT, read, refuse

OPERATORS = """\
time,end,lat,lon,variable,operator,factor,radius [km],level,width,value,units,error
2000-01-01,2000-02-01,10,20,t2m,coarse,4,,,,10,degC,1
2000-01-01,,10,20,t2m,mean,,25,,,283,K,1
2000-01-01,,10,20,tp,threshold,,,2,0.5,0.7,,0.1
2000-01-01,,10,20,u10,speed,,,,,36,km/h,3.6
2000-01-01,,10,20,u10,direction,,,,,350,degree,10
2000-01-01,,10,20,t2m,,,,,,284,K,1
"""


def test_operators_come_with_their_settings(tmp_path):
    table = read(tmp_path, OPERATORS)
    assert list(table["operator"]) == ["coarse", "mean", "threshold", "speed", "direction", ""]
    empty = np.full(6, np.nan)
    for name, row, value in (
        ("factor", 0, 4),
        ("radius", 1, 25e3),
        ("level", 2, 2),
        ("width", 2, 0.5),
    ):
        expected = empty.copy()
        expected[row] = value
        np.testing.assert_array_equal(table[name], expected)
    assert table["end"][0] == pd.Timestamp("2000-02-01")
    assert table["end"][1:].isna().all()
    assert (table["status"] == "").all()


def test_what_an_operator_makes_has_its_own_unit(tmp_path):
    """A block mean is a temperature, a speed is counted from zero, and 350 degrees are no wind."""
    table = read(tmp_path, OPERATORS)
    np.testing.assert_allclose(table["value"], [283.15, 283, 0.7, 10, 350, 284], rtol=EXACT)
    np.testing.assert_allclose(table["error"], [1, 1, 0.1, 1, 10, 1], rtol=EXACT)
    assert list(table["units"]) == ["K", "K", "1", "m s-1", "degree", "K"]


def test_a_level_beside_no_operator_is_no_setting(tmp_path):
    table = read(tmp_path, "lat,lon,level,t2m [K]\n1,2,surface,280\n")
    assert "level" not in table
    assert list(table["value"]) == [280.0]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("u10,speed,36,K,1", "'K', the unit of speed, cannot be converted to m s-1"),
        ("u10,speed,36,,1", "speed has no units"),
        ("u10,speed,36,km/h,", "line 2: the speed of u10 has no error"),
        ("u10,direction,350,m/s,1", "the unit of direction, cannot be converted to degree"),
    ],
)
def test_what_an_operator_makes_is_not_guessed(tmp_path, row, what):
    refuse(tmp_path, f"lat,lon,variable,operator,value,units,error\n1,2,{row}\n", what)

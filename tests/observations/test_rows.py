"""Rows of large tables are compared and merged as pandas does, without its copies."""

import numpy as np
import pandas as pd
import pytest

from dpdm.observations.quality_control import merge_colocated
from dpdm.observations.rows import copy_lazily, number_groups
from dpdm.observations.status import status_reasons
from tests.helpers.station_tables import table


def random_rows(seed: int, count: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = table(rng.choice([35.0, 36.0], count), rng.choice([125.0, 126.0, -234.0], count))
    rows["value"], rows["error"] = rng.normal(280, 5, count), rng.choice([0.5, 1.0], count)
    rows["variable"] = rng.choice(["t2m", "tp"], count)
    rows["pressure"] = rng.choice([np.nan, 85000.0], count)
    rows["status"] = rng.choice(["", "", "missing"], count)
    return rows.assign(step=rng.integers(0, 30, count))


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_pandas(seed: int) -> None:
    rows = random_rows(seed)
    names = ["lat", "lon", "variable", "pressure", "step"]
    expected = rows.groupby(names, sort=False, dropna=False).ngroup()
    assert number_groups(rows[name] for name in names).tolist() == expected.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_merged_values_are_weighted_means(seed: int) -> None:
    rows = random_rows(seed).sample(frac=1, random_state=seed)  # an index in any order
    merged = merge_colocated(rows)
    used = rows[rows["status"] == ""]
    keys = [used["lat"], used["lon"] % 360, *(used[n] for n in ("variable", "pressure", "step"))]
    for _, group in used.groupby(keys, dropna=False):
        weight = group["error"] ** -2.0
        first = merged.loc[group.index[0]]
        assert first["value"] == pytest.approx((weight * group["value"]).sum() / weight.sum())
        assert first["error"] == pytest.approx(weight.sum() ** -0.5)
        others = set(merged.loc[group.index[1:], "status"])
        assert others <= {f"merged into row {first['row']} of a.csv"}
    rest = merged[rows["status"] != ""]
    pd.testing.assert_frame_equal(rest, rows[rows["status"] != ""])
    assert merged.index.equals(rows.index)


def test_the_table_itself_is_not_changed() -> None:
    rows = random_rows(0)
    before = rows.copy()
    changed = copy_lazily(rows)
    changed.loc[:3, "status"] = "spike: 7 robust standard deviations from 5 neighbours"
    merge_colocated(rows)
    pd.testing.assert_frame_equal(rows, before)
    assert list(status_reasons(changed)[:4]) == ["spike"] * 4

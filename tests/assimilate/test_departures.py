"""What an analysis says of observations, against numbers worked by hand and laws of chance."""

import numpy as np
import pandas as pd
import pytest

from dpdm.assimilate.departures import (
    compare_departures,
    departures,
    format_departures,
    misfit_warnings,
    summarise_departures,
)


def table(value: list[float], error: float = 1.0, status: str = "assimilated") -> pd.DataFrame:
    rows = {"variable": "t2m", "value": value, "error": error, "status": status}
    return pd.DataFrame(rows)


def test_scores_worked_by_hand() -> None:
    prior, members = np.array([[2.0, 4.0], [0.0, 0.0]]), np.array([[1.0, 3.0], [1.0, 1.0]])
    found = compare_departures(table([1.0, 1.0], error=2.0), prior, members)
    assert found["count"] == 2
    assert found["prior_rmse"] == pytest.approx(np.sqrt((4 + 1) / 2))
    assert found["rmse"] == pytest.approx(np.sqrt(1 / 2))
    assert (found["prior_bias"], found["bias"]) == (0.5, 0.5)
    assert found["crps"] == pytest.approx(
        0.0
    )  # (0 + 2) / 2 - 2 / 2 for the first, 0 for the other
    assert found["ssr"] == pytest.approx(np.sqrt((2 * 1.5 / 2 + 4) / 0.5))
    assert found["chi_square"] == pytest.approx((0 + 4) / 2 / 4 / 2)
    assert found["log_likelihood"] == pytest.approx(-(0.25 * 2 + 2 * np.log(2 * np.pi * 4)) / 2)


def test_a_true_ensemble_is_calibrated_and_fits() -> None:
    """Truth and members are alike: SSR 1; members that are the truth: chi-square 1."""
    rng = np.random.default_rng(0)
    centre = rng.standard_normal(20000)
    truth = centre + rng.standard_normal(20000)
    members = centre[:, None] + rng.standard_normal((20000, 10))
    seen = table(list(truth + 0.5 * rng.standard_normal(20000)), error=0.5)
    found = compare_departures(seen, members, members)
    assert found["ssr"] == pytest.approx(1.0, abs=0.02)  # three sampling errors
    exact = compare_departures(seen, members, np.repeat(truth[:, None], 2, axis=1))
    assert exact["chi_square"] == pytest.approx(1.0, abs=0.03)
    share = exact["log_likelihood"] / exact["log_likelihood_of_truth"]
    assert share == pytest.approx(1.0, abs=0.02)


def test_the_report_keeps_every_row_and_its_order() -> None:
    seen = pd.concat([table([1.0]), table([5.0], status="withheld")], ignore_index=True)
    out = departures(seen, np.array([[0.0, 2.0], [4.0, 4.0]]), np.array([[1.0, 1.0], [5.0, 7.0]]))
    assert list(out["innovation"]) == [0.0, 1.0]
    assert list(out["residual"]) == [0.0, -1.0]
    assert list(out["analysis_spread"]) == [0.0, pytest.approx(np.sqrt(2))]
    assert list(out["status"]) == ["assimilated", "withheld"]


def test_used_and_withheld_are_told_apart_and_misfits_are_doubted() -> None:
    seen = pd.concat([table([9.0] * 12), table([0.0], status="withheld")], ignore_index=True)
    members = np.zeros((13, 3))
    rows = summarise_departures(seen, members, members)
    assert [r["observations"] for r in rows] == ["assimilated", "withheld"]
    (sentence,) = misfit_warnings(rows)
    assert "less closely" in sentence
    assert "chi-square is 81.00" in sentence
    assert not list(misfit_warnings(rows[1:]))
    lines = format_departures(rows).splitlines()
    assert lines[0].startswith("observations")
    assert lines[1].startswith("t2m, assimilated     12")


def test_what_is_not_used_is_counted_by_its_reason() -> None:
    statuses = [
        "assimilated",
        "missing",
        "rejected: 7.1 ...",
        "rejected: 9.0 ...",
        "merged into row 1",
    ]
    seen = pd.concat([table([0.0], status=status) for status in statuses], ignore_index=True)
    rows = summarise_departures(seen, np.zeros((5, 3)), np.zeros((5, 3)))
    counts = {row["observations"]: row["count"] for row in rows}
    assert counts == {"assimilated": 1, "missing": 1, "rejected": 2, "merged": 1}
    assert format_departures(rows).splitlines()[3].split() == ["t2m,", "rejected", "2", *"-" * 10]


@pytest.mark.parametrize(("miss", "count", "sentences"), [(2.0, 9, 0), (4.0, 1, 1), (2.0, 10, 1)])
def test_few_observations_are_doubted_where_it_is_no_chance(
    miss: float, count: int, sentences: int
) -> None:
    members = np.zeros((count, 3))
    rows = summarise_departures(table([miss] * count), members, members)
    assert len(list(misfit_warnings(rows))) == sentences

"""Check what an assimilation would use, before anything is drawn or written."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from dpdm.assimilate.departures import label_observations
from dpdm.evaluate.table import align_column
from dpdm.observations.layout import FileLayout, LayoutCallback
from dpdm.observations.stations import station_names
from dpdm.observations.status import ObsStatus, status_reasons

HEADINGS = ("observations", "values", "stations", "steps", "from", "to")


def pass_notes(notify: Callable[[str], None]) -> LayoutCallback:
    """Return a callback that passes on what is assumed of each file."""

    def pass_on(layout: FileLayout) -> None:
        for note in layout.notes:
            notify(f"{layout.source}: {note}")

    return pass_on


def describe_files(say: Callable[[str], None]) -> LayoutCallback:
    """Return a callback that says what the columns of each file were taken for."""

    def describe(layout: FileLayout) -> None:
        for line in layout.lines():
            say(line)

    return describe


def describe_use(table: pd.DataFrame, total: int) -> list[str]:
    """Return how many values of what are used at which steps, and why others are not.

    Args:
        table: Screened observations.
        total: Number of steps.
    """
    named = "station" in table and (table["station"] != "").all()
    counted = table[["time", "step"]].assign(
        label=label_observations(table),
        why=status_reasons(table),
        name=table["station"] if named else station_names(table),
    )
    rows = list(_count_groups(counted))
    columns = [align_column(list(column)) for column in zip(HEADINGS, *rows, strict=True)]
    columns[0] = [cell.strip().ljust(len(columns[0][0])) for cell in columns[0]]
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    used = counted[counted["why"] == ObsStatus.ASSIMILATED]
    met = used["step"].nunique()
    return [*lines, f"{met} of {total} step{'s' if total != 1 else ''} will have observations."]


def _count_groups(counted: pd.DataFrame) -> Iterator[tuple[str, ...]]:
    """Yield a row a variable and status, those in use first."""
    groups = counted.groupby(["label", "why"]).indices
    for label, why in sorted(groups, key=lambda key: (key[0], key[1] != ObsStatus.ASSIMILATED)):
        rows = counted.iloc[groups[label, why]]
        word = "used" if why == ObsStatus.ASSIMILATED else str(why)
        steps = rows.loc[rows["step"] >= 0, "step"].nunique()
        dates = rows["time"].dropna()
        ends = [str(end)[:10] for end in (dates.min(), dates.max())] if len(dates) else ["-", "-"]
        counts = (len(rows), rows["name"].nunique(), steps)
        yield (f"{label}, {word}", *map(str, counts), *ends)

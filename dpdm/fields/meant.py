"""What the rows of a table of observations are of: a variable, at a pressure or not.

The same name may mean the air at a station and the air aloft: beside a pressure it is the latter.
Brightness temperatures and outgoing radiation are variables of their own, whose operators are
thereby known.
"""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from dpdm.errors import DpdmError
from dpdm.fields.aloft import short
from dpdm.fields.channels import called
from dpdm.fields.columns import Asked
from dpdm.fields.status import ObsStatus
from dpdm.fields.units import parse, registry
from dpdm.fields.values import coded
from dpdm.fields.variables import ALOFT

WHOLE = {"brightness": "tb", "olr": "rlut"}  # operators, and the variables that stand for them
PRESSURES = (1.0, 1.1e5)  # Pa, between which air is observed


def named(table: pd.DataFrame, asked: Asked, unit: str) -> pd.DataFrame:
    """Return a table with its variables named, and with pressures (Pa) of those on levels alone.

    Args:
        table: Rows with the names ``old`` of their file.
        asked: What the user said.
        unit: That of the column ``pressure``, if there is one.
    """
    table = table.copy()
    aloft = pd.Series(False, table.index)
    if "pressure" in table:
        aloft = table["pressure"].notna() & ~coded(table["pressure"].to_numpy())
    pairs = list(zip(table["old"], aloft, strict=True))
    names = {pair: asked.name(*pair) for pair in set(pairs)}
    table["variable"] = [names[pair] for pair in pairs]
    if "operator" in table:
        whole = table["operator"].isin(WHOLE)
        table.loc[whole, "variable"] = table["operator"].map(WHOLE)
        table.loc[whole | (table["operator"] == "level"), "operator"] = ""
    table = _channelled(table)
    here = aloft & table["variable"].isin(ALOFT)
    if not here.any():
        return table.drop(columns="pressure", errors="ignore")
    return table.assign(pressure=_pascal(table[here], unit).reindex(table.index))


def _channelled(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose brightness temperatures alone have channels, or the status of none."""
    remote = table["variable"] == "tb"
    if not remote.any():
        return table.drop(columns="channel", errors="ignore")
    said = table["channel"] if "channel" in table else pd.Series("", table.index)
    named = remote & said.notna() & (said.astype(str) != "")
    status = table["status"].mask(remote & ~named, ObsStatus.NO_CHANNEL.value)
    return table.assign(channel=said.map(called).where(named, ""), status=status)


def _pascal(rows: pd.DataFrame, unit: str) -> pd.Series:
    """Convert pressures to Pa."""
    if not unit:
        raise DpdmError(
            f"{rows['variable'].iloc[0]} is observed at a pressure that has no units.",
            "Write pressure [hPa] in the header, give the variable units, or say --units "
            "pressure=hPa.",
        )
    scale = registry().Quantity(1.0, parse(unit))
    if not scale.is_compatible_with("Pa"):
        raise DpdmError(f"The pressure of the rows is in '{unit}'.", "Give it in hPa or Pa.")
    pressure = rows["pressure"] * float(scale.to("Pa").magnitude)
    wrong = np.flatnonzero(~pressure.between(*PRESSURES))
    if wrong.size:
        row = rows.iloc[wrong[0]]
        raise DpdmError(
            f"row {row['row']} lies at a pressure of {row['pressure']:g} {unit}.",
            "Air is at 0.01 to 1100 hPa; say --units pressure=UNIT if the unit is another.",
        )
    return pressure.map(short)

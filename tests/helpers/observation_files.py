"""Read tables of observations, or expect their refusal."""

from pathlib import Path

import pandas as pd
import pytest

from dpdm.errors import DpdmError
from dpdm.observations.table import read_observations

EXACT = 1e-12  # a scale and an offset in float64


def read(folder: Path, text: str | bytes, **said) -> pd.DataFrame:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "obs.csv").write_bytes(data)
    return read_observations([folder / "obs.csv"], **said)


def refuse(folder: Path, text: str | bytes, what: str, **said) -> None:
    with pytest.raises(DpdmError, match=what) as fault:
        read(folder, text, **said)
    assert "obs.csv" in fault.value.what
    assert fault.value.hint

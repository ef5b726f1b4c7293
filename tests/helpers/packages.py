"""Packages that announce operators, installed for a test."""

from pathlib import Path

NAMES = ("mean", "nan", "long", "numeric", "array", "broken", "number", "gone")


def install(folder: Path, name: str, module: str, text: str) -> None:
    """Lay a distribution out as an installer does."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (folder / f"{module}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [f"area_{n} = {module}:{n}" for n in NAMES]
    (info / "entry_points.txt").write_text("\n".join(["[dpdm.operators]", *lines]) + "\n")

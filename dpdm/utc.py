"""The time of the clock, as lines of logs and ledgers have it."""

from datetime import UTC, datetime


def now() -> str:
    """Return the time, UTC, to the second: ``2026-01-31T23:59:59Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Times as callers read them."""

from datetime import datetime


def timestamp(moment: datetime | None) -> str | None:
    """ISO 8601 with microseconds and Z, of a moment in UTC; None stays None."""
    return None if moment is None else moment.isoformat(timespec="microseconds").replace("+00:00", "Z")

"""What a version's predictions were like lately: for its owner and for operators. Knows no HTTP. Calls
block."""

from typing import Any

from app.db import version_stats
from app.db.session import Database
from app.db.version_stats import SAMPLE, Summary
from app.domain.phases import DIGITS, PHASES
from app.domain.predictions import TERMINAL
from app.domain.timestamps import timestamp
from app.services.catalogue.model_versions import ModelVersions
from app.services.people.access import Principal

LONGEST_WINDOW = 30 * 86_400.0  # seconds


class VersionStats:
    """One for each API process."""

    def __init__(self, database: Database, versions: ModelVersions) -> None:
        self._database, self._versions = database, versions

    def summarize(
        self, principal: Principal, owner: str, name: str, version_id: str, seconds: float
    ) -> dict[str, Any]:
        """Of the last `seconds`. Raises NotFound, Forbidden, Unavailable."""
        version = self._versions.get_for_statistics(principal, owner, name, version_id)
        with self._database.unit() as session:
            summary = version_stats.summary(session, version.id, seconds)
        head = {"model": f"{owner}/{name}", "version": version.id, "window_seconds": seconds}
        return {**head, **as_json(summary)}


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as callers see it. Rates are over the time that the sample reaches back."""
    span = max(1e-6, (summary.until - summary.since).total_seconds())
    batches = sum(number for _, _, number in summary.sizes)
    batched = sum(count for _, count, _ in summary.sizes)
    return {
        "since": timestamp(summary.since),
        "until": timestamp(summary.until),
        "predictions": summary.count,
        "sample_limit": SAMPLE,
        "complete": summary.complete,
        "statuses": {status.value: summary.statuses.get(status.value, 0) for status in sorted(TERMINAL)},
        "errors": {code or "unknown": count for code, count in sorted(summary.errors.items())},
        "devices": dict(sorted(summary.devices.items())),
        "per_second": round(summary.count / span, 4),
        "seconds": {name: _rounded(summary.seconds.get(name)) for name in (*PHASES, "total")},
        "batches": {
            "mean_size": round(batched / batches, 3) if batches else None,
            "sizes": [_bucket(*size) for size in summary.sizes],
        },
        "padding": {"mean": _share(summary.padding_mean), "p95": _share(summary.padding_p95)},
    }


def _bucket(power: int, count: int, batches: float) -> dict[str, Any]:
    """Batches of more than half of 2^power rows, up to 2^power. A batch of n counts n times 1/n."""
    return {
        "from": (1 << power >> 1) + 1 if power else 1,
        "to": 1 << power,
        "predictions": count,
        "batches": round(batches, 2),
    }


def _rounded(quantiles: dict[str, float] | None) -> dict[str, float] | None:
    return None if quantiles is None else {name: round(value, DIGITS) for name, value in quantiles.items()}


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)

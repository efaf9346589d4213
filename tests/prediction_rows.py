"""What a prediction is accepted from."""

import time
from typing import Any

from app.domain.predictions import new_id


def row(**more: Any) -> dict[str, Any]:
    """What Submitter hands to `accept`."""
    base: dict[str, Any] = {
        "id": new_id(time.time_ns() // 1_000_000),
        "user_id": None,
        "version_id": "v" * 64,
        "model": "demo/echo",
        "queue": "cpu",
        "routing": None,
        "source": "api",
        "input": {"text": "x"},
        "stream": True,
        "cancel_after": None,
        "timeout": None,
        "webhook": None,
        "webhook_events": None,
        "idempotency_key": None,
        "request_hash": None,
    }
    return {**base, **more}

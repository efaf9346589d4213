"""Predictions for tests of their lives: made, claimed and ended through the lifecycle."""

import time
from typing import Any
from uuid import UUID, uuid4

from app.db import predictions as table
from app.db import workers
from app.db.tables import WorkerRow
from app.domain.predictions import Prediction, Status, new_id
from app.services.assembly import Core
from app.services.lifecycle import Ending


def row(**more: Any) -> dict[str, Any]:
    """What Submitter hands to `accept`."""
    base: dict[str, Any] = {
        "id": new_id(time.time_ns() // 1_000_000), "user_id": None, "version_id": "v" * 64, "model": "demo/echo", "queue": "cpu",
        "routing": None, "source": "api", "input": {"text": "x"}, "stream": True, "cancel_after": None, "timeout": None,
        "webhook": None, "webhook_events": None, "idempotency_key": None, "request_hash": None,
    }  # fmt: skip
    return {**base, **more}


def accepted(core: Core, **more: Any) -> Prediction:
    """One waiting prediction."""
    return next(iter(core.lifecycle.accept([row(**more)]).values()))


def living_worker(core: Core, device: str = "cpu", **facts: Any) -> UUID:
    """A worker whose heartbeat is fresh; `facts` are its device's."""
    worker = uuid4()
    values = {
        "host": "h", "pid": 1, "device": device, "device_class": device, "device_facts": facts, "queues": [device], "slots": 4,
    }  # fmt: skip
    with core.database.unit() as session:
        workers.register(session, WorkerRow(id=worker, **values))
    return worker


def claimed(core: Core, worker: UUID, **more: Any) -> Prediction:
    """One running prediction of this worker."""
    [found] = core.lifecycle.claim([accepted(core, **more).id], worker)
    assert found is not None
    return found


def ending(prediction: Prediction, status: Status = Status.SUCCEEDED, **more: Any) -> Ending:
    """The end of this very attempt."""
    assert prediction.worker is not None
    return Ending(prediction.id, prediction.attempt, prediction.worker, status, **more)


def now(core: Core, prediction: Prediction) -> Prediction:
    """The prediction as its row says."""
    with core.database.unit() as session:
        return table.get(session, [prediction.id])[prediction.id]

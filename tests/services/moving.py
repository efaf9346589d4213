"""Predictions for tests of their lives: made, claimed and ended through the lifecycle."""

from typing import Any
from uuid import UUID, uuid4

from prediction_rows import row

from app.composition_core import Core
from app.db import predictions as table
from app.db import workers
from app.domain.predictions import Prediction, Status
from app.domain.workers import NewWorker
from app.json_text import JsonText
from app.services.predictions.attempts import Ending, ProgressUpdate


def accepted(core: Core, **more: Any) -> Prediction:
    """One waiting prediction."""
    values = row(**more)
    prediction = core.lifecycle.accept([values])[values["id"]]
    prediction.input = values["input"]  # as the Submitter has it
    return prediction


def living_worker(core: Core, device: str = "cpu", **facts: Any) -> UUID:
    """A worker whose heartbeat is fresh; `facts` are its device's."""
    worker = uuid4()
    values: dict[str, Any] = {
        "host": "h",
        "pid": 1,
        "device": device,
        "device_class": device,
        "device_facts": facts,
        "queues": [device],
        "slots": 4,
    }
    with core.database.unit() as session:
        workers.register(session, NewWorker(id=worker, **values))
    return worker


def claimed(core: Core, worker: UUID, **more: Any) -> Prediction:
    """One running prediction of this worker."""
    [prediction] = claim(core, worker, accepted(core, **more).id)
    return prediction


def begin(core: Core, prediction: Prediction, **more: Any) -> None:
    """Its model has it in hand."""
    assert prediction.worker is not None
    fence = prediction.id, prediction.attempt, prediction.worker
    assert core.lifecycle.save_progress([ProgressUpdate(*fence, begun=True, **more)]) == [True]


def claim(core: Core, worker: UUID, *ids: str) -> list[Prediction]:
    """Those of the predictions that are this worker's now; it has capacity for all."""
    return core.lifecycle.claim(ids, worker, {}).predictions


def ending(
    prediction: Prediction, status: Status = Status.SUCCEEDED, output: Any = None, **more: Any
) -> Ending:
    """The end of this very attempt."""
    assert prediction.worker is not None
    text = None if output is None else JsonText.from_value(output)
    return Ending(prediction.id, prediction.attempt, prediction.worker, status, text, **more)


def now(core: Core, prediction: Prediction) -> Prediction:
    """The prediction as its row says."""
    with core.database.unit() as session:
        return table.get(session, [prediction.id])[prediction.id]

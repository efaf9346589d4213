"""A worker without Celery and engine: claims whatever waits and answers as the runtime `echo` would, on one
thread.

It speaks to the real Lifecycle over the real database, so the API sees what real workers would make it see.
"""

import threading
import time
import uuid
from typing import Any

from app.composition_core import open_core
from app.db import workers
from app.domain.predictions import Prediction, Status
from app.domain.workers import NewWorker
from app.events.channels import ChunkFrame
from app.json_text import JsonText
from app.services.predictions.lifecycle import Ending, ProgressUpdate
from app.services.predictions.stored_values import INLINE_BYTES, facts_of, output_key
from app.settings import Settings
from app.worker.long_inputs import LongInputs


class HandWorker:
    """`with HandWorker(settings): ...`"""

    def __init__(self, settings: Settings) -> None:
        self._core = open_core(settings, application="test-worker", pool=4)
        self._inputs = LongInputs(self._core.database, self._core.storage)
        self._id = uuid.uuid4()
        self._stop = threading.Event()
        self.begins = threading.Event()  # cleared: what is claimed waits for its model
        self.begins.set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "HandWorker":
        worker = NewWorker(
            id=self._id,
            host="testhost",
            pid=1,
            device="cpu",
            device_class="cpu",
            device_facts={"name": "Test CPU"},
            queues=["cpu", "cpu@testhost", "any"],
            slots=8,
        )
        with self._core.database.unit() as session:
            workers.register(session, worker)
        self._thread.start()
        return self

    def publish_models(self, *models: dict[str, Any]) -> None:
        """A heartbeat that says this of its models."""
        with self._core.database.unit() as session:
            workers.beat(session, self._id, running=1, models=models)

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self.begins.set()
        self._thread.join()
        self._core.close()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            waiting = self._core.lifecycle.list_next(["cpu", "cpu@testhost", "any"], 8)
            ids = [each.id for each in waiting[:8]]
            for prediction in self._core.lifecycle.claim(ids, self._id, {}).predictions if ids else ():
                self._answer(prediction)

    def _answer(self, prediction: Prediction) -> None:
        asked = self._inputs.whole_input(prediction)
        said = asked.get("text", asked.get("prompt", "said"))
        chunks = [said] * asked.get("chunks", 0)
        until = time.monotonic() + asked.get("seconds", 0)
        fence = (prediction.id, prediction.attempt, self._id)
        self.begins.wait()
        self._core.lifecycle.begin([prediction])
        self._core.lifecycle.save_progress([ProgressUpdate(*fence, begun=True)])
        for number in range(len(chunks)):
            self._core.events.chunk(prediction.id, ChunkFrame(prediction.attempt, number, chunks[number]))
            self._core.lifecycle.save_progress([ProgressUpdate(*fence, output=chunks[: number + 1])])
        while time.monotonic() < until and not self._stop.is_set():
            time.sleep(0.02)
        failed = bool(asked.get("fail"))
        output = chunks or asked.get("answer", said)
        text = JsonText.from_value(output)
        if long := len(text) > INLINE_BYTES:
            self._core.answers.stored.put(output_key(prediction.id, prediction.attempt), text)
        ending = Ending(
            *fence,
            status=Status.FAILED if failed else Status.SUCCEEDED,
            output=None if failed else facts_of(output, text) if long else text,
            output_bytes=len(text),
            output_key=output_key(prediction.id, prediction.attempt) if long and not failed else None,
            error="It was asked to fail." if failed else None,
            error_code=asked.get("code", "model_failed") if failed else None,
            metrics={
                **({"finish_reason": asked["finish_reason"]} if asked.get("finish_reason") else {}),
                "run": 0.01,
                "prompt_tokens": 3,
                "input_tokens": 3,
                "output_tokens": len(chunks),
            },
        )
        self._core.lifecycle.finish([ending])

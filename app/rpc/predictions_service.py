"""`lovage.v1.Predictions`: JSON in, JSON out, and every event of a run, numbered."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import orjson

from app.domain.errors import LovageError, Unauthenticated, wrong_field
from app.domain.predictions import Status
from app.domain.versions import RunnableVersion
from app.domain.work import Chunk, Event, Log, Progress, Restarted, Started
from app.rpc.direct_calls import DirectCalls, seconds_until
from app.rpc.direct_run import DirectRun
from app.rpc.errors import Context, RunEnded, abort, answering
from app.rpc.stubs import predictions_pb2 as messages
from app.services.people.access import Principal

NAME = "lovage.v1.Predictions"
LONGEST_TIMEOUT = 86_400.0  # seconds


class PredictionsService:
    """One for each server."""

    def __init__(self, calls: DirectCalls) -> None:
        self._calls = calls

    def handlers(self) -> grpc.GenericRpcHandler:
        """All its methods."""
        unary: dict[str, tuple[Any, Any]] = {
            "Predict": (self.predict, messages.PredictRequest),
            "Cancel": (self.cancel, messages.CancelRequest),
            "Infer": (self.infer, messages.InferPairsRequest),
        }
        methods = {
            name: grpc.unary_unary_rpc_method_handler(answering(method), request.FromString, _serialize)
            for name, (method, request) in unary.items()
        }
        methods["PredictStream"] = grpc.unary_stream_rpc_method_handler(
            self.predict_stream, messages.PredictRequest.FromString, _serialize
        )
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def predict(self, request: messages.PredictRequest, context: Context) -> messages.PredictResponse:
        """A prediction when its end is recorded, whatever that is: a failed one is no error of the call."""
        caller = await self._calls.caller(context)
        version, run = await self._start(caller, request, wants_events=False)
        return await self._end(version, run)

    async def predict_stream(
        self, request: messages.PredictRequest, context: Context
    ) -> AsyncIterator[messages.PredictEvent]:
        """Its events, numbered from 1; the last is `done`, with the prediction. A caller that leaves cancels
        it; a session's end ends the stream."""
        try:
            caller = await self._calls.caller(context)
            until = await self._calls.expiry(context)
            version, run = await self._start(caller, request, wants_events=True)
        except LovageError as error:
            await abort(context, error)
        events = self._events(version, run)
        try:
            # Not `asyncio.timeout` around the loop: it may strike while gRPC writes an event, outside of
            # here, and the stream would hang.
            while (event := await asyncio.wait_for(anext(events, None), seconds_until(until))) is not None:
                yield event
        except TimeoutError:
            self._calls.cancel(run)
            await abort(context, Unauthenticated("The session has expired. Ask for another one."))
        except (asyncio.CancelledError, GeneratorExit):
            self._calls.cancel(run)
            raise

    async def _events(self, version: RunnableVersion, run: DirectRun) -> AsyncIterator[messages.PredictEvent]:
        number = 0
        async for event in run.events():
            if (shown := _shown(event)) is not None:
                number += 1
                kind, data = shown
                yield messages.PredictEvent(
                    seq=number, kind=kind, data_json=_encode(data), id=run.prediction.id
                )
        end = await self._end(version, run)
        yield messages.PredictEvent(seq=number + 1, kind="done", id=run.prediction.id, end=end)

    async def cancel(self, request: messages.CancelRequest, context: Context) -> messages.CancelResponse:
        """Stops the caller's own prediction that runs on this worker."""
        caller = await self._calls.caller(context)
        return messages.CancelResponse(found=self._calls.cancel_id(caller, request.id))

    async def infer(
        self, request: messages.InferPairsRequest, context: Context
    ) -> messages.InferPairsResponse:
        """The scores of pairs, by a model whose input is `pairs` (runtime `pair-scoring`)."""
        caller = await self._calls.caller(context)
        version = await self._calls.version(caller, request.model, request.version)
        if "pairs" not in version.input_schema.get("properties", {}):
            raise wrong_field("model", f"{version.model} takes no pairs")
        pairs = [[pair.query, pair.text] for pair in request.pairs]
        run = await self._calls.open(caller, version, {"pairs": pairs}, size=request.ByteSize())
        output = await self._calls.finish(run)
        if not isinstance(output, list) or not all(isinstance(score, int | float) for score in output):
            raise wrong_field("model", f"{version.model} does not answer with one score for each pair")
        return messages.InferPairsResponse(id=run.prediction.id, scores=output)

    async def _start(
        self, caller: Principal, request: messages.PredictRequest, *, wants_events: bool
    ) -> tuple[RunnableVersion, DirectRun]:
        version = await self._calls.version(caller, request.model, request.version)
        if not 0 <= request.timeout_seconds <= LONGEST_TIMEOUT:
            raise wrong_field("timeout_seconds", f"must be between 0 and {LONGEST_TIMEOUT:.0f}")
        run = await self._calls.open(
            caller,
            version,
            _read_input(request.input_json),
            size=len(request.input_json),
            seconds=request.timeout_seconds or None,
            wants_events=wants_events,
        )
        return version, run

    async def _end(self, version: RunnableVersion, run: DirectRun) -> messages.PredictResponse:
        answer = messages.PredictResponse(id=run.prediction.id, model=version.model, version=version.id)
        try:
            answer.output_json = _encode(await self._calls.finish(run))
            answer.status = Status.SUCCEEDED.value
        except RunEnded as ended:
            answer.status = (Status.CANCELED if ended.is_canceled else Status.FAILED).value
            answer.error, answer.error_code = ended.detail, ended.code_name or ""
        answer.metrics_json = _encode(run.metrics)
        return answer


def _serialize(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _encode(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _read_input(text: bytes) -> dict[str, Any]:
    """Raises InvalidRequest for what is no JSON object; its values are checked by the model's schema."""
    try:
        values = orjson.loads(text or b"{}")
    except orjson.JSONDecodeError as error:
        raise wrong_field("input_json", f"is not valid JSON: {error.msg} at character {error.pos}") from None
    if not isinstance(values, dict):
        raise wrong_field("input_json", "must be an object")
    return values


def _shown(event: Event) -> tuple[str, Any] | None:
    """Kind and data of an event; None for the ending one, which `done` stands for."""
    match event:
        case Started(batch_size):
            return "start", {"batch_size": batch_size, "at": time.time()}
        case Chunk(data):
            return "output", data
        case Restarted():
            return "restart", None
        case Log(text):
            return "log", text
        case Progress(done, total):
            return "progress", {"done": done, "total": total}
    return None

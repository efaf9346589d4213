"""One worker, as lovage/worker.py, for asyncio."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

import grpc

from app.rpc.stubs import inference_pb2 as inference
from app.rpc.stubs import predictions_pb2 as predictions
from lovage import worker_messages as messages
from lovage.errors import Unreachable
from lovage.tensors import Tensor
from lovage.values import Event, Prediction, SessionInfo
from lovage.worker_channel import OPTIONS, metadata_of, readable_errors


class AsyncWorker:
    """As Worker; `credentials` of the channel, None: plaintext. Made on the loop that calls it."""

    def __init__(self, info: SessionInfo, credentials: Any = None, seconds: float = 60.0) -> None:
        self.info, self._seconds = info, seconds
        self._channel = (
            grpc.aio.secure_channel(info.address, credentials, OPTIONS)
            if credentials
            else grpc.aio.insecure_channel(info.address, OPTIONS)
        )
        self._metadata = metadata_of(info)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancels what is under way."""
        await self._channel.close()

    async def predict(self, values: Mapping[str, Any], seconds: float = 0.0) -> Prediction:
        """As Worker's."""
        request = messages.predict_request(self.info, values, seconds)
        answer = await self._call(messages.PREDICT, request, predictions.PredictResponse)
        return messages.read_prediction(answer)

    async def stream(self, values: Mapping[str, Any], seconds: float = 0.0) -> AsyncGenerator[Event, None]:
        """As Worker's."""
        call = self._channel.unary_stream(
            messages.STREAM,
            request_serializer=predictions.PredictRequest.SerializeToString,
            response_deserializer=predictions.PredictEvent.FromString,
        )
        events = call(messages.predict_request(self.info, values, seconds), metadata=self._metadata)
        number, event = 0, None
        try:
            with readable_errors():
                async for message in events:
                    number += 1
                    event = messages.read_event(message, number)
                    yield event
        finally:
            events.cancel()
        if event is None or event.kind != "done":
            raise Unreachable("the stream ended without `done`", code="data_loss")

    async def cancel(self, prediction_id: str) -> bool:
        """As Worker's."""
        request = predictions.CancelRequest(id=prediction_id)
        return bool((await self._call(messages.CANCEL, request, predictions.CancelResponse)).found)

    async def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """As Worker's."""
        request = messages.score_request(self.info, pairs)
        return list((await self._call(messages.SCORE, request, predictions.InferPairsResponse)).scores)

    async def infer(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """As Worker's."""
        request = messages.infer_request(self.info, inputs)
        return messages.read_outputs(await self._call(messages.INFER, request, inference.ModelInferResponse))

    async def _call(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        with readable_errors():
            return await call(request, timeout=self._seconds, metadata=self._metadata)

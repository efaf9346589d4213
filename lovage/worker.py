"""One worker, called by gRPC with a session's token; errors are the call's, nothing is tried again."""

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Self

import grpc

from app.rpc.stubs import inference_pb2 as inference
from app.rpc.stubs import predictions_pb2 as predictions
from lovage import worker_messages as messages
from lovage.errors import Unreachable
from lovage.tensors import Tensor
from lovage.values import Event, Prediction, SessionInfo, Tls
from lovage.worker_channel import OPTIONS, credentials_of, metadata_of, readable_errors


class Worker:
    """May be used by many threads. `seconds`: the longest that one call may take; a stream ends with its
    token."""

    def __init__(self, info: SessionInfo, tls: Tls | None = None, seconds: float = 60.0) -> None:
        """Raises WrongCertificate, Unreachable."""
        self.info, self._seconds = info, seconds
        credentials = credentials_of(info, tls or Tls())
        self._channel = (
            grpc.secure_channel(info.address, credentials, OPTIONS)
            if credentials
            else grpc.insecure_channel(info.address, OPTIONS)
        )
        self._metadata = metadata_of(info)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancels what is under way."""
        self._channel.close()

    def predict(self, values: Mapping[str, Any], seconds: float = 0.0) -> Prediction:
        """Runs the model; answers when the prediction has ended, however it has. `seconds` of
        running, 0: the version's own."""
        request = messages.predict_request(self.info, values, seconds)
        return messages.read_prediction(self._call(messages.PREDICT, request, predictions.PredictResponse))

    def stream(self, values: Mapping[str, Any], seconds: float = 0.0) -> Generator[Event, None, None]:
        """Every event of one prediction; left before its end, it is canceled."""
        call = self._channel.unary_stream(
            messages.STREAM,
            request_serializer=predictions.PredictRequest.SerializeToString,
            response_deserializer=predictions.PredictEvent.FromString,
        )
        events = call(messages.predict_request(self.info, values, seconds), metadata=self._metadata)
        number, event = 0, None
        try:
            with readable_errors():
                for number, message in enumerate(events, 1):
                    event = messages.read_event(message, number)
                    yield event
        finally:
            events.cancel()
        if event is None or event.kind != "done":
            raise Unreachable("the stream ended without `done`", code="data_loss")

    def cancel(self, prediction_id: str) -> bool:
        """Stops an own prediction that runs on this worker; False: there is none."""
        request = predictions.CancelRequest(id=prediction_id)
        return bool(self._call(messages.CANCEL, request, predictions.CancelResponse).found)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Scores of pairs (query, text), by a cross-encoder."""
        request = messages.score_request(self.info, pairs)
        return list(self._call(messages.SCORE, request, predictions.InferPairsResponse).scores)

    def infer(self, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
        """ModelInfer of the Open Inference Protocol: the outputs by name."""
        request = messages.infer_request(self.info, inputs)
        return messages.read_outputs(self._call(messages.INFER, request, inference.ModelInferResponse))

    def _call(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        with readable_errors():
            return call(request, timeout=self._seconds, metadata=self._metadata)

"""A client of a worker's own gRPC, for scripts that measure or break the direct path: a session, its channel,
calls by name. Asks for another session when the worker is gone. Knows no figure and no fault."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import orjson

from app.domain.tensors import Tensor, encode_raw
from app.rpc.stubs import inference_pb2 as inference
from app.rpc.stubs import predictions_pb2 as predictions

INFER = "/inference.GRPCInferenceService/ModelInfer"
PREDICT_STREAM = "/lovage.v1.Predictions/PredictStream"
SESSION_PAUSE = 0.1  # seconds between two tries
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def text_request(model: str, name: str, text: str) -> inference.ModelInferRequest:
    """One text for the input `name`."""
    request = inference.ModelInferRequest(model_name=model)
    request.inputs.add(name=name, datatype="BYTES", shape=[1])
    request.raw_input_contents.append(encode_raw(Tensor(name, "BYTES", (1,), [text])))
    return request


@dataclass
class Session:
    """A worker's address, and a token for one model there."""

    address: str
    worker: str
    metadata: tuple[tuple[str, str], ...]
    channel: grpc.Channel = field(init=False)

    def __post_init__(self) -> None:
        self.channel = grpc.insecure_channel(self.address, OPTIONS)

    def infer(
        self, request: inference.ModelInferRequest, seconds: float = 60
    ) -> inference.ModelInferResponse:
        """Raises grpc.RpcError."""
        call = self.channel.unary_unary(
            INFER,
            request_serializer=inference.ModelInferRequest.SerializeToString,
            response_deserializer=inference.ModelInferResponse.FromString,
        )
        return call(request, timeout=seconds, metadata=self.metadata)

    def stream(
        self, model: str, values: dict[str, Any], seconds: float = 120
    ) -> Iterator[predictions.PredictEvent]:
        """Every event of one prediction. Raises grpc.RpcError."""
        call = self.channel.unary_stream(
            PREDICT_STREAM,
            request_serializer=predictions.PredictRequest.SerializeToString,
            response_deserializer=predictions.PredictEvent.FromString,
        )
        request = predictions.PredictRequest(model=model, input_json=orjson.dumps(values))
        yield from call(request, timeout=seconds, metadata=self.metadata)


def open_session(
    client: httpx.Client,
    model: str,
    seconds: float = 30,
    exclude: Sequence[str] = (),
    records: str = "sync",
) -> Session:
    """Asks until there is a worker, another than `exclude` where there is one. Raises RuntimeError with
    the last answer when the time is over."""
    body = {"model": model, "exclude": list(exclude), "records": records}
    until, last = time.monotonic() + seconds, "no answer"
    while time.monotonic() < until:
        try:
            answer = client.post("/v1/sessions", json=body)
        except httpx.HTTPError as error:
            last = repr(error)
        else:
            if answer.status_code == 201:
                opened = answer.json()
                metadata = (("authorization", f"Bearer {opened['token']}"),)
                return Session(opened["address"], opened["worker"], metadata)
            last = answer.text
        time.sleep(SESSION_PAUSE)
    raise RuntimeError(f"no session for {model}: {last}")

"""A client of a worker's gRPC, and the runtime echo's requests."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from app.domain.tensors import Tensor, decode_raw, encode_raw
from app.rpc.inference_service import NAME
from app.rpc.stubs import inference_pb2 as messages

KEY = "lov_" + "a" * 64
SECONDS = 20
KINDS = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}


class Client:
    """Calls any method of the service by its name."""

    def __init__(self, port: int, credentials: Any = None) -> None:
        address = f"127.0.0.1:{port}"
        self.channel = (
            grpc.secure_channel(address, credentials) if credentials else grpc.insecure_channel(address)
        )
        self.metadata = (("authorization", f"Bearer {KEY}"),)

    def call(self, method: str, request: Any, metadata: Any = None, timeout: float = SECONDS) -> Any:
        answer = getattr(messages, method + "Response")
        stub = self.channel.unary_unary(
            f"/{NAME}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return stub(request, timeout=timeout, metadata=self.metadata if metadata is None else metadata)

    def stream(self, requests: list[Any]) -> list[Any]:
        stub = self.channel.stream_stream(
            f"/{NAME}/ModelStreamInfer",
            request_serializer=messages.ModelInferRequest.SerializeToString,
            response_deserializer=messages.ModelStreamInferResponse.FromString,
        )
        return list(stub(iter(requests), timeout=SECONDS, metadata=self.metadata))


def echo_request(text: str = "hello", **inputs: Any) -> Any:
    """An inference of the runtime echo, its other inputs as parameters."""
    request = messages.ModelInferRequest(model_name="ada/echo", id="mine")
    request.inputs.add(name="text", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(encode_raw(Tensor("text", "BYTES", (1,), [text])))
    for name, value in inputs.items():
        kind = KINDS[type(value)]
        setattr(request.parameters[name], kind, value)
    return request


def texts_of(response: Any) -> list[str]:
    return decode_raw(response.outputs[0].datatype, response.raw_output_contents[0])


def refusal(call: Callable[[], Any]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        call()
    return refused.value

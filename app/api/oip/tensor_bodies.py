"""Bodies of inferences: JSON, or JSON with the tensors' bytes behind it (the binary tensor data extension).
The header `Inference-Header-Content-Length` says where the JSON ends."""

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

from app.api.bodies import body_size, parse_json, read_bytes, require_json
from app.api.body_gate import LARGE
from app.api.deps import services_of
from app.api.model_calls.failures import refused
from app.api.oip.errors import refuse_tensor
from app.api.oip.wire import InferIn, InputTensorIn
from app.domain.storable import text_fault
from app.domain.tensor_signature import as_elements
from app.domain.tensors import (
    BYTES,
    Tensor,
    WrongTensor,
    decode_raw,
    encode_raw,
    flatten,
    require_datatype,
    require_length,
)

HEADER_LENGTH = "inference-header-content-length"
Decoded = tuple[InferIn, list[Tensor]]


async def read_inference(request: Request, owner: str) -> Decoded:
    """The checked request and its tensors. Raises InvalidRequest naming what is wrong."""
    header_length = request.headers.get(HEADER_LENGTH)
    if header_length is None:
        require_json(request.headers.get("content-type"))
    body = await read_bytes(request, owner)
    length = len(body)
    if header_length is not None:
        if not header_length.isdecimal() or len(header_length) > 18 or int(header_length) > length:
            raise refused("Inference-Header-Content-Length", f"must be at most {length}, the body's length")
        length = int(header_length)
    if len(body) <= LARGE:
        return _decode(body, length)
    return await services_of(request).bodies.run(_decode, body, length)


def _decode(body: bytearray, header_length: int) -> Decoded:
    try:
        infer = InferIn.model_validate(parse_json(body[:header_length]))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from None
    tensors, rest = [], memoryview(body)[header_length:]
    for number, tensor in enumerate(infer.inputs):
        try:
            raw, rest = _split(tensor, rest)
            tensors.append(_decode_tensor(tensor, raw))
        except WrongTensor as wrong:
            refuse_tensor(WrongTensor(f"inputs.{number}: {wrong}"))
    if rest:
        raise refused("inputs", f"leave {len(rest)} bytes of the body that no binary_data_size counts")
    return infer, tensors


def _split(tensor: InputTensorIn, rest: memoryview) -> tuple[memoryview | None, memoryview]:
    """The tensor's bytes, None where it has none, and what follows them."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return None, rest
    if type(size) is not int or not 0 <= size <= len(rest):
        raise WrongTensor(f"must have a binary_data_size of at most the {len(rest)} bytes that are left")
    return rest[:size], rest[size:]


def _decode_tensor(tensor: InputTensorIn, raw: memoryview | None) -> Tensor:
    if unknown := next((name for name in tensor.parameters if name != "binary_data_size"), None):
        raise WrongTensor(f"has the parameter {unknown[:100]!r}, which is not supported")
    if (raw is None) == (tensor.data is None):
        raise WrongTensor("needs `data` or `binary_data_size`, and not both")
    require_datatype(tensor.datatype)
    shape = tuple(tensor.shape)
    if raw is not None:
        elements = decode_raw(tensor.datatype, raw)
        if tensor.datatype == BYTES and any(map(text_fault, elements)):
            raise WrongTensor("holds the NUL character, which no text may contain")
        decoded = Tensor(tensor.name, tensor.datatype, shape, elements)
    else:
        flat = flatten(tensor.data)
        if flat is None:
            raise WrongTensor("holds lists of different lengths")
        decoded = Tensor(tensor.name, tensor.datatype, shape, flat[1])
        as_elements(decoded, tensor.datatype)
    require_length(shape, decoded.data)
    return decoded


async def answer_inference(
    request: Request, infer: InferIn, head: dict[str, Any], tensors: Sequence[Tensor]
) -> Response:
    """The answer with its outputs as they are wanted."""
    is_large = body_size(request) > LARGE or sum(len(tensor.data) for tensor in tensors) > LARGE // 10
    if is_large:
        return await services_of(request).bodies.run(_encode, infer, head, tensors)
    return _encode(infer, head, tensors)


def _encode(infer: InferIn, head: dict[str, Any], tensors: Sequence[Tensor]) -> Response:
    outputs, blobs = [], []
    for tensor in tensors:
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if infer.binary_outputs(tensor.name):
            blobs.append(encode_raw(tensor))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = tensor.data
        outputs.append(output)
    text = orjson.dumps({**head, "outputs": outputs})
    if not blobs:
        return Response(text, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Response(b"".join([text, *blobs]), headers=headers, media_type="application/octet-stream")

"""Tensors as the messages of inference.proto: raw bytes or typed contents in, raw bytes out."""

from collections.abc import Collection, Mapping
from typing import Any

from app.domain.raw_tensors import KEPT_BYTES, Buffer, RawTensor
from app.domain.storable import text_fault
from app.domain.tensors import (
    BYTES,
    Tensor,
    WrongTensor,
    as_text,
    decode_raw,
    encode_raw,
    require_datatype,
    require_length,
)
from app.rpc.stubs import inference_pb2 as messages

# Before the length and the bytes of each: the field's number, and that it has a length.
RAW_OUTPUT = bytes([messages.ModelInferResponse.RAW_OUTPUT_CONTENTS_FIELD_NUMBER << 3 | 2])
# Where typed contents of a datatype stand. FP16 only exists as raw bytes.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}


def read_tensors(
    request: messages.ModelInferRequest, listed: Collection[str] | None
) -> tuple[list[Tensor], dict[str, RawTensor]]:
    """A request's tensors, checked: with their elements, and those that stay bytes because they are large
    and their model takes them so (`listed`: all but these; None: none). Raises WrongTensor, whose sentence
    begins with the tensor's name."""
    raws = list(request.raw_input_contents)
    if raws and len(raws) != len(request.inputs):
        raise WrongTensor(f"raw_input_contents: has {len(raws)} entries for {len(request.inputs)} inputs")
    is_large = sum(map(len, raws)) > KEPT_BYTES
    tensors: list[Tensor] = []
    stay: dict[str, RawTensor] = {}
    for number, tensor in enumerate(request.inputs):
        try:
            if is_large and listed is not None and tensor.name not in listed and tensor.datatype != BYTES:
                if tensor.name in stay:
                    raise WrongTensor("is given twice")
                stay[tensor.name] = _read_raw(tensor, raws[number])
            else:
                tensors.append(_read_tensor(tensor, raws[number] if raws else None))
        except WrongTensor as wrong:
            raise WrongTensor(f"{tensor.name[:100]}: {wrong}") from None
    return tensors, stay


def _read_raw(message: messages.ModelInferRequest.InferInputTensor, raw: bytes) -> RawTensor:
    require_datatype(message.datatype)
    _require_one_place(message)
    return RawTensor(message.datatype, message.shape, raw)


def _require_one_place(message: messages.ModelInferRequest.InferInputTensor) -> None:
    if message.HasField("contents"):
        raise WrongTensor("has contents and raw_input_contents; give one of them")


def _read_tensor(message: messages.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    require_datatype(message.datatype)
    shape = tuple(message.shape)
    if raw is not None:
        _require_one_place(message)
        data = decode_raw(message.datatype, raw)
    else:
        data = _read_contents(message)
    if message.datatype == BYTES and any(map(text_fault, data)):
        raise WrongTensor("holds the NUL character, which no text may contain")
    require_length(shape, data)
    return Tensor(message.name, message.datatype, shape, data)


def _read_contents(message: messages.ModelInferRequest.InferInputTensor) -> list[Any]:
    field = CONTENTS.get(message.datatype)
    if field is None:
        raise WrongTensor(f"is {message.datatype}, which only exists in raw_input_contents")
    if others := [other.name for other, _ in message.contents.ListFields() if other.name != field]:
        raise WrongTensor(f"has {others[0]}; {message.datatype} belongs into {field}")
    values = getattr(message.contents, field)
    return [as_text(value) for value in values] if message.datatype == BYTES else list(values)


def read_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A map of InferParameter, or of ModelRepositoryParameter, as plain values; what is not set is left
    out."""
    kinds = {name: parameter.WhichOneof("parameter_choice") for name, parameter in parameters.items()}
    return {name: getattr(parameters[name], kind) for name, kind in kinds.items() if kind}


def encode_response(
    response: messages.ModelInferResponse, tensors: Mapping[str, Tensor | RawTensor]
) -> bytes:
    """The response with these outputs, serialized. Their bytes are written behind the rest instead of being
    copied into it before: messages that stand end to end are one, by protobuf's rules."""
    parts: list[Buffer] = []
    for name, tensor in tensors.items():
        data = tensor.data if isinstance(tensor, RawTensor) else encode_raw(tensor)
        response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape or (1,))
        parts += [RAW_OUTPUT, _varint(len(data)), data]
    return b"".join([response.SerializeToString(), *parts])


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def write_tensors(response: messages.ModelInferResponse, tensors: Mapping[str, Tensor | RawTensor]) -> None:
    """Adds the outputs, as raw bytes."""
    for name, tensor in tensors.items():
        data = bytes(tensor.data) if isinstance(tensor, RawTensor) else encode_raw(tensor)
        response.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape or (1,))
        response.raw_output_contents.append(data)

"""Servers of the Open Inference Protocol (KServe's v2): Triton, KServe, MLServer. Tensors in, tensors out; a
model's inputs and outputs are what its metadata says."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from app.backends.base import BackendCall, JsonObject
from app.backends.http_kind import CHECK_SECONDS, HttpKind
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.tensors import WrongTensor, flatten, nest, require_length
from app.domain.work import Event, Finished

TENSORS = "tensors"
MOST_ITEMS = 10_000_000  # of a tensor
MOST_MODELS = 200
TYPES = {"BOOL": "boolean", "BYTES": "string", "FP16": "number", "FP32": "number", "FP64": "number"}


class OipServer(HttpKind):
    """Option `models`: their names, where the server has no index of them (KServe)."""

    tasks: ClassVar[tuple[str, ...]] = (TENSORS,)
    options: ClassVar[JsonObject] = {
        "models": {"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": MOST_MODELS}
    }

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._datatypes: dict[str, dict[str, str]] = {}

    async def check(self) -> None:
        async with self.open("GET", self.url("/v2/health/ready"), silence=CHECK_SECONDS):
            pass

    async def list_models(self) -> Sequence[ServedModel]:
        return [await self._served(name) for name in (await self._names())[:MOST_MODELS]]

    async def _names(self) -> list[str]:
        if names := self.address.options.get("models"):
            return list(names)
        index = await self.ask("POST", self.url("/v2/repository/index"), {"ready": True}, CHECK_SECONDS)
        return [str(each["name"]) for each in index if isinstance(each, dict) and each.get("name")]

    async def _metadata(self, model: str) -> JsonObject:
        return await self.ask_object("GET", self.url(f"/v2/models/{quote(model)}"), silence=CHECK_SECONDS)

    async def _served(self, model: str) -> ServedModel:
        metadata = await self._metadata(model)
        inputs, outputs = metadata.get("inputs") or [], metadata.get("outputs") or []
        return ServedModel(
            model, TENSORS, inputs=schema_of(inputs, "Input"), outputs=schema_of(outputs, "Output")
        )

    async def run(self, call: BackendCall) -> AsyncIterator[Event]:
        """One inference."""
        known = self._datatypes.get(call.model)
        if known is None:
            metadata = await self._metadata(call.model)
            known = {each["name"]: each["datatype"] for each in metadata.get("inputs") or ()}
            self._datatypes[call.model] = known
        tensors = [tensor_of(name, known.get(name, "FP32"), value) for name, value in call.input.items()]
        path = f"/v2/models/{quote(call.model)}/infer"
        answer = await self.ask_object("POST", self.url(path), {"inputs": tensors})
        outputs = answer.get("outputs")
        if not isinstance(outputs, list) or not outputs:
            raise UpstreamFailed("answered no outputs")
        yield Finished({each["name"]: nested(each["data"], each["shape"]) for each in outputs})


def schema_of(tensors: Sequence[Mapping[str, Any]], title: str) -> JsonObject:
    """The JSON Schema of named tensors: nested lists, one level for each dimension."""
    properties = {str(each["name"]): _tensor_schema(each, order) for order, each in enumerate(tensors)}
    schema: JsonObject = {"type": "object", "title": title, "properties": properties}
    return schema | ({"required": list(properties)} if title == "Input" else {})


def _tensor_schema(tensor: Mapping[str, Any], order: int) -> JsonObject:
    datatype, shape = str(tensor["datatype"]), list(tensor["shape"])
    kind = TYPES.get(datatype, "integer")
    bounds: JsonObject = {"maxLength": MOST_ITEMS} if kind == "string" else {}
    schema: JsonObject = {"type": kind, **bounds}
    for size in reversed(shape):
        limits = {"minItems": size, "maxItems": size} if size >= 0 else {"maxItems": MOST_ITEMS}
        schema = {"type": "array", "items": schema, **limits}
    shown = " x ".join(str(size) if size >= 0 else "any" for size in shape)
    return {**schema, "x-order": order, "description": f"{datatype}, {shown}."}


def tensor_of(name: str, datatype: str, value: Any) -> JsonObject:
    """As the protocol has it: flat, with its shape. Raises UpstreamFailed for lists of different lengths."""
    flat = flatten(value)
    if flat is None:
        raise UpstreamFailed(f"takes no lists of different lengths: {name}", Fault.INPUT)
    shape, data = flat
    return {"name": name, "datatype": datatype, "shape": list(shape) or [1], "data": data}


def nested(data: Sequence[Any], shape: Sequence[int]) -> Any:
    """Flat data as nested lists of its shape. Raises UpstreamFailed where they do not fit."""
    try:
        require_length(shape, data)
    except WrongTensor as error:
        raise UpstreamFailed(f"answered what {error}") from None
    return nest(data, shape)

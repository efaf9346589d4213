"""Tensors of a direct call stay bytes from the call to the model and back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy
import pytest
from rpc_client import Client, refusal

from app.db import predictions as table
from app.db.tables import ModelRow, UserRow, VersionRow
from app.domain.raw_tensors import KEPT_BYTES, TENSOR_KEY
from app.domain.tensors import decode_raw
from app.domain.work import ModelSpec
from app.rpc.server import RpcServer
from app.rpc.stubs import inference_pb2 as messages
from app.runtimes.onnx.onnx_graph import OnnxGraph
from app.worker.preparation import ReadyVersion

GRAPH = Path(__file__).parents[2] / "scripts" / "clients"  # x + y and x - y
VERSION = "7" * 64  # no other test's: the engine is shared by all of a process
ROWS = KEPT_BYTES // 12 + 1  # of three numbers: one tensor of these is more than is kept
ANY = {"type": "object", "title": "Output"}


@pytest.fixture
def client(parts: SimpleNamespace, serve: Callable[..., RpcServer]) -> Iterator[Client]:
    """Of a worker in this process that has a graph loaded."""
    schema = OnnxGraph.spec.inputs[""]
    with parts.core.database.unit() as session:
        ada = session.query(UserRow).filter_by(username="ada").one()
        model = ModelRow(owner_id=ada.id, owner="ada", name="adder", visibility="public")
        session.add(model)
        session.flush()
        row = VersionRow(id=VERSION, model_id=model.id, source="none", runtime="onnx", streams=False)
        row.input_schema, row.output_schema = schema, ANY
        session.add(row)
    spec = ModelSpec(VERSION, "ada/adder", "onnx", path=str(GRAPH))
    parts.engine.load(spec)
    parts.preparation.ready[VERSION] = ReadyVersion(spec, schema, (), True, 60.0)
    client = Client(serve().port)
    yield client
    client.channel.close()
    parts.engine.release(VERSION)


def request_of(dtype: str = "float32", rows: int = ROWS, **changed: Any) -> Any:
    request = messages.ModelInferRequest(model_name="ada/adder")
    for name in ("x", "y"):
        array = numpy.arange(rows * 3, dtype=dtype).reshape(rows, 3) * (2 if name == "x" else 1)
        array = changed.get(name, array).astype(dtype)
        datatype = {"float32": "FP32", "float64": "FP64"}[dtype]
        request.inputs.add(name=name, datatype=datatype, shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def arrays_of(answer: Any) -> dict[str, numpy.ndarray]:
    pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
    return {each.name: numpy.array(decode_raw(each.datatype, raw)).reshape(each.shape) for each, raw in pairs}


def record(parts: SimpleNamespace, answer: Any) -> Any:
    prediction_id = answer.parameters["prediction"].string_param
    with parts.core.database.unit() as session:
        return table.get(session, [prediction_id])[prediction_id]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_tensors_give_what_lists_give_and_the_record_has_their_form(client, parts, dtype) -> None:
    answer = client.call("ModelInfer", request_of(dtype))
    values = numpy.arange(ROWS * 3, dtype="float32").reshape(ROWS, 3)
    numpy.testing.assert_array_equal(arrays_of(answer)["sum"], values * 3)
    numpy.testing.assert_array_equal(arrays_of(answer)["difference"], values)
    row = record(parts, answer)
    datatype, size = {"float32": ("FP32", 4), "float64": ("FP64", 8)}[dtype]
    form = {"datatype": datatype, "shape": [ROWS, 3], "bytes": ROWS * 3 * size}
    assert row.input == {"tensors": {"x": {TENSOR_KEY: form}, "y": {TENSOR_KEY: form}}}
    out = {"datatype": "FP32", "shape": [ROWS, 3], "bytes": ROWS * 12}
    assert (row.status, row.output) == (
        "succeeded",
        {"sum": {TENSOR_KEY: out}, "difference": {TENSOR_KEY: out}},
    )


def test_short_ones_are_recorded_as_lists_and_outputs_are_chosen_by_name(client, parts) -> None:
    request = request_of(rows=1)
    request.outputs.add(name="difference")
    answer = client.call("ModelInfer", request)
    assert {name: array.tolist() for name, array in arrays_of(answer).items()} == {"difference": [[0, 1, 2]]}
    row = record(parts, answer)
    assert row.input == {"tensors": {"x": [[0, 2, 4]], "y": [[0, 1, 2]]}}
    assert row.output == {"sum": [[0, 3, 6]], "difference": [[0, 1, 2]]}


def test_tensors_that_do_not_fit_or_are_not_finite_are_refused_by_name(client) -> None:
    short = request_of()
    short.raw_input_contents[1] = short.raw_input_contents[1][:-4]
    twice = request_of()
    twice.inputs[1].name = "x"
    odd = numpy.full((ROWS, 3), numpy.inf)
    bad, failed = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL
    cases = [
        (short, bad, f"y: has {ROWS * 12 - 4} bytes; FP32 of the shape [{ROWS}, 3] has {ROWS * 12}"),
        (twice, bad, "x: is given twice"),
        (request_of(x=numpy.ones((3, ROWS))), bad, f"'x' has the shape [3, {ROWS}], the graph takes"),
        (request_of(x=odd), failed, "not finite"),
    ]
    for request, code, words in cases:
        error = refusal(lambda request=request: client.call("ModelInfer", request))
        assert (error.code(), words in error.details()) == (code, True), error.details()

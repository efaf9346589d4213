"""gRPC inside a worker: clients of the Open Inference Protocol run models in its engine, and every call is a
prediction."""

import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rpc_client import SECONDS, Client, echo_request, refusal, texts_of

from app.db import predictions as table
from app.domain.predictions import accepted_at
from app.rpc.inference_service import NAME
from app.rpc.predictions_service import NAME as PREDICTIONS
from app.rpc.server import RpcServer
from app.rpc.stubs import inference_pb2 as messages
from app.rpc.stubs import predictions_pb2 as own
from app.services.people.worker_tokens import GrantSigner, WorkerGrant


@pytest.fixture
def client(parts: SimpleNamespace, serve: Callable[..., RpcServer]) -> Iterator[Client]:
    """Of a worker that runs in this process."""
    parts.server = serve()
    client = Client(parts.server.port)
    yield client
    client.channel.close()


def test_an_inference_is_answered_and_recorded_as_a_prediction(client, parts) -> None:
    answer = client.call("ModelInfer", echo_request("direct"))
    assert texts_of(answer) == ["direct"]
    assert (answer.id, answer.model_version) == ("mine", parts.version)
    prediction_id = answer.parameters["prediction"].string_param
    with parts.core.database.unit() as session:
        row = table.get(session, [prediction_id])[prediction_id]
    assert (row.source, row.status, row.attempt, row.output) == ("grpc", "succeeded", 1, "direct")
    assert (row.queue, row.input["text"]) == ("cpu@here", "direct")


def test_typed_contents_are_taken_as_well(client) -> None:
    request = messages.ModelInferRequest(model_name="echo")
    request.inputs.add(name="text", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b"typed")
    assert texts_of(client.call("ModelInfer", request)) == ["typed"]


def test_calls_side_by_side_are_all_answered(client) -> None:
    answers: dict[int, Any] = {}

    def run(number: int) -> None:
        answers[number] = client.call("ModelInfer", echo_request(f"n{number}"))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert [texts_of(answers[number]) for number in range(16)] == [[f"n{number}"] for number in range(16)]


def test_what_is_wrong_is_refused_with_a_code_and_the_name_of_the_field(client) -> None:
    cases = [
        (echo_request(wings=2), grpc.StatusCode.INVALID_ARGUMENT, "parameters.wings: is no input"),
        (echo_request(sequence_id=4), grpc.StatusCode.INVALID_ARGUMENT, "parameters.sequence_id"),
        (echo_request(fail="no luck"), grpc.StatusCode.INTERNAL, "no luck"),
        (messages.ModelInferRequest(model_name="ada/none"), grpc.StatusCode.NOT_FOUND, "does not exist"),
    ]
    for request, code, words in cases:
        error = refusal(lambda request=request: client.call("ModelInfer", request))
        assert (error.code(), words in error.details()) == (code, True), error.details()
    nobody = refusal(lambda: client.call("ModelInfer", echo_request(), metadata=()))
    assert nobody.code() is grpc.StatusCode.UNAUTHENTICATED
    wrong = refusal(lambda: client.call("ModelInfer", echo_request(), (("authorization", "Bearer lov_no"),)))
    assert wrong.code() is grpc.StatusCode.UNAUTHENTICATED


def statuses(parts: SimpleNamespace) -> list[str]:
    with parts.core.database.unit() as session:
        return session.connection().exec_driver_sql("SELECT status FROM predictions").scalars().all()


def test_a_caller_that_leaves_cancels_the_prediction(client, parts) -> None:
    stub = client.channel.unary_unary(
        f"/{NAME}/ModelInfer",
        request_serializer=messages.ModelInferRequest.SerializeToString,
        response_deserializer=messages.ModelInferResponse.FromString,
    )
    call = stub.future(echo_request(seconds=60.0), timeout=SECONDS * 2, metadata=client.metadata)
    for _ in range(400):
        if parts.in_flight:
            break
        threading.Event().wait(0.02)
    call.cancel()
    for _ in range(400):
        if statuses(parts) == ["canceled"]:
            break
        threading.Event().wait(0.02)
    assert statuses(parts) == ["canceled"]


def test_a_worker_without_capacity_says_when_to_come_again(client, parts, monkeypatch) -> None:
    monkeypatch.setattr(parts.runner, "capacity", lambda **_: {parts.version: 0})
    error = refusal(lambda: client.call("ModelInfer", echo_request()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = {key: value for key, value in error.trailing_metadata()}
    assert (trailing["grpc-retry-pushback-ms"], trailing["retry-after"]) == ("500", "0.5")
    assert b"RetryInfo" in trailing["grpc-status-details-bin"]


def test_what_is_not_claimed_for_a_while_is_still_run_for_who_calls(client, parts) -> None:
    parts.in_flight.hold_back({parts.version}, 60)
    assert texts_of(client.call("ModelInfer", echo_request("mine"))) == ["mine"]


def test_a_stream_answers_in_pieces_and_an_error_leaves_it_open(client) -> None:
    last = echo_request("abc", chunks=3, triton_enable_empty_final_response=True)
    answers = client.stream([echo_request(fail=True), last])
    (failed,) = [answer for answer in answers if answer.error_message]
    assert failed.infer_response.id == "mine"
    good = [answer.infer_response for answer in answers if not answer.error_message]
    assert [texts_of(answer) for answer in good[:-1]] == [["a"], ["b"], ["c"]]
    assert good[-1].parameters["triton_final_response"].bool_param


def test_models_are_described_loaded_listed_and_unloaded(client, parts) -> None:
    metadata = client.call("ModelMetadata", messages.ModelMetadataRequest(name="echo"))
    assert [each.datatype for each in metadata.inputs if each.name in ("text", "chunks")] == [
        "BYTES",
        "INT64",
    ]
    assert client.call("ModelReady", messages.ModelReadyRequest(name="ada/echo")).ready
    client.call("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="echo"))
    (listed,) = client.call("RepositoryIndex", messages.RepositoryIndexRequest()).models
    assert (listed.name, listed.state) == ("ada/echo", "READY")
    client.call("RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="echo"))
    for _ in range(200):
        if not parts.engine.is_ready(parts.version):
            break
        threading.Event().wait(0.02)
    assert not client.call("RepositoryIndex", messages.RepositoryIndexRequest(ready=True)).models


def test_a_worker_that_stops_refuses_and_says_so_to_health_checks(client, parts) -> None:
    health = health_pb2_grpc.HealthStub(client.channel)
    assert client.call("ServerReady", messages.ServerReadyRequest(), ()).ready
    assert health.Check(health_pb2.HealthCheckRequest(service=NAME)).status == 1
    parts.server.refuse()
    error = refusal(lambda: client.call("ModelInfer", echo_request()))
    assert (error.code(), "stopping" in error.details()) == (grpc.StatusCode.UNAVAILABLE, True)
    assert not client.call("ServerReady", messages.ServerReadyRequest(), ()).ready
    assert client.call("ServerLive", messages.ServerLiveRequest(), ()).live


def token(
    parts: SimpleNamespace,
    *,
    worker: str = "cpu@here",
    seconds: float = 60,
    secret: str = "",
    later: bool = False,
) -> Any:
    """The metadata of a session for the echo."""
    until = int(time.time() + seconds)
    grant = WorkerGrant(worker, None, "ada", "ada/echo", parts.version, until, records_later=later)
    return (("authorization", f"Bearer {GrantSigner(secret or parts.secret).issue(grant)}"),)


def test_a_sessions_token_runs_its_model_on_its_worker_and_nothing_else(client, parts) -> None:
    mine = token(parts)
    assert texts_of(client.call("ModelInfer", echo_request("by session"), mine)) == ["by session"]
    other = messages.ModelInferRequest(model_name="demo/minilm")
    load = messages.RepositoryModelLoadRequest(model_name="ada/echo")
    denied, unauthenticated = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
    cases = [
        ("ModelInfer", other, mine, denied, "This session is for ada/echo, not for 'demo/minilm'"),
        ("RepositoryModelLoad", load, mine, denied, "needs the scope 'models'"),
        ("ModelInfer", echo_request(), token(parts, worker="cpu@there"), unauthenticated, "another worker"),
        ("ModelInfer", echo_request(), token(parts, seconds=-60), unauthenticated, "it has expired"),
        ("ModelInfer", echo_request(), token(parts, secret="x" * 40), unauthenticated, "nobody here has"),
    ]
    for method, request, metadata, code, words in cases:
        error = refusal(lambda args=(method, request, metadata): client.call(*args))
        assert (error.code(), words in error.details()) == (code, True), error.details()


def test_a_session_that_asks_for_it_is_answered_before_its_calls_are_recorded(
    client, parts, monkeypatch
) -> None:
    may_write, accept = threading.Event(), parts.core.lifecycle.accept

    def accept_late(*args: Any) -> Any:
        assert may_write.wait(SECONDS)
        return accept(*args)

    monkeypatch.setattr(parts.core.lifecycle, "accept", accept_late)
    later = token(parts, later=True)
    answer = client.call("ModelInfer", echo_request("soon"), later)
    assert (texts_of(answer), statuses(parts)) == (["soon"], [])
    may_write.set()
    for _ in range(400):
        if statuses(parts) == ["succeeded"]:
            break
        threading.Event().wait(0.02)
    prediction_id = answer.parameters["prediction"].string_param
    with parts.core.database.unit() as session:
        row = table.get(session, [prediction_id])[prediction_id]
    assert (row.source, row.status, row.output, row.input["text"]) == ("grpc", "succeeded", "soon", "soon")
    assert row.created_at == row.started_at
    assert (row.completed_at - row.started_at).total_seconds() >= row.metrics["run"]
    assert abs(row.created_at.timestamp() - accepted_at(prediction_id)) < 0.5
    failed = refusal(lambda: client.call("ModelInfer", echo_request(fail="no luck"), later))
    assert (failed.code(), sorted(statuses(parts))) == (grpc.StatusCode.INTERNAL, ["failed", "succeeded"])


def test_a_stream_ends_when_its_session_does(client, parts) -> None:
    client.metadata = token(parts, seconds=1)
    began = time.monotonic()
    error = refusal(lambda: client.stream([echo_request(seconds=15.0)]))
    assert (error.code(), "session has expired" in error.details()) == (grpc.StatusCode.UNAUTHENTICATED, True)
    assert time.monotonic() - began < 10


def ask(client: Client, method: str, request: Any, answer: type, *, streamed: bool = False) -> Any:
    """A call of Lovage's own service."""
    kind = client.channel.unary_stream if streamed else client.channel.unary_unary
    stub = kind(
        f"/{PREDICTIONS}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )
    return stub(request, timeout=SECONDS, metadata=client.metadata)


def predict_request(**inputs: Any) -> Any:
    return own.PredictRequest(model="ada/echo", input_json=orjson.dumps(inputs))


def test_a_prediction_is_json_in_and_json_out_and_its_failure_no_error_of_the_call(client) -> None:
    good = ask(client, "Predict", predict_request(text="own"), own.PredictResponse)
    assert (good.status, orjson.loads(good.output_json), len(good.id)) == ("succeeded", "own", 26)
    failed = ask(client, "Predict", predict_request(fail="no luck"), own.PredictResponse)
    assert (failed.status, failed.error_code, "no luck" in failed.error) == ("failed", "model_failed", True)
    for request, words in (
        (predict_request(wings=1), "input.wings: is not an input"),
        (own.PredictRequest(model="ada/echo", input_json=b"[1]"), "input_json: must be an object"),
        (own.PredictRequest(model="ada/echo", input_json=b"{"), "input_json: is not valid JSON"),
        (own.PredictRequest(model="ada/echo", timeout_seconds=-1), "timeout_seconds: must be between"),
    ):
        error = refusal(lambda request=request: ask(client, "Predict", request, own.PredictResponse))
        assert (error.code(), words in error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    pairs = own.InferPairsRequest(model="ada/echo", pairs=[{"query": "q", "text": "t"}])
    error = refusal(lambda: ask(client, "Infer", pairs, own.InferPairsResponse))
    assert "takes no pairs" in error.details()


def test_events_are_numbered_and_the_last_is_the_prediction(client) -> None:
    request = predict_request(text="abc", chunks=3)
    events = list(ask(client, "PredictStream", request, own.PredictEvent, streamed=True))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events] == ["start", "output", "output", "output", "done"]
    assert [orjson.loads(event.data_json) for event in events[1:4]] == ["a", "b", "c"]
    assert (events[-1].end.status, orjson.loads(events[-1].end.output_json)) == ("succeeded", ["a", "b", "c"])


def test_a_running_prediction_can_be_canceled_by_its_maker(client) -> None:
    events = ask(client, "PredictStream", predict_request(seconds=30.0), own.PredictEvent, streamed=True)
    started = next(events)
    assert ask(client, "Cancel", own.CancelRequest(id=started.id), own.CancelResponse).found
    assert [event.end.status for event in events if event.kind == "done"] == ["canceled"]
    assert not ask(client, "Cancel", own.CancelRequest(id=started.id), own.CancelResponse).found

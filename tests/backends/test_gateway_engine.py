"""Predictions at backends that answer well, slowly, wrongly, half, or not at all."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from fake_upstream import FakeUpstream
from gateway_support import Gateway, registered
from waiting import eventually

from app.backends import breaker
from app.domain import backend_retry
from app.domain.backend_retry import UpstreamFailed
from app.domain.backends import BackendChoice
from app.domain.work import Canceled, Failed, Finished, Restarted

Start = Callable[..., FakeUpstream]
Open = Callable[..., Gateway]


def test_a_text_is_streamed_and_its_tokens_are_counted(start_upstream: Start, open_gateway: Open) -> None:
    upstream = start_upstream()
    watched = open_gateway(registered(upstream, "gpu")).submit(input={"prompt": "x", "max_new_tokens": 9})
    assert watched.ending.output == ["Hello", " there", "!"] == watched.chunks
    metrics = watched.ending.metrics
    assert (metrics["prompt_tokens"], metrics["output_tokens"]) == (5, 3)
    assert (metrics["finish_reason"], metrics["backend"]) == ("stop", "gpu")
    body = upstream.bodies[0]
    assert (body["model"], body["max_tokens"], body["stream"]) == ("tiny-chat", 9, True)


def test_tokens_come_as_the_backend_says_them(start_upstream: Start, open_gateway: Open) -> None:
    upstream = start_upstream(pause=0.2)
    watched = open_gateway(registered(upstream, "gpu")).submit(input={"messages": [{"role": "user"}]})
    eventually(lambda: watched.chunks == ["Hello"])
    assert isinstance(watched.ending, Finished)


def test_vectors_and_scores_are_in_the_order_of_their_inputs(
    start_upstream: Start, open_gateway: Open
) -> None:
    gateway = open_gateway(registered(start_upstream(), "gpu"))
    vectors = gateway.finish(task="embedding", input={"text": ["a", "bcd"]})
    assert vectors.output == [[1.0, 1.0], [3.0, 1.0]]
    assert vectors.metrics["input_tokens"] == 7
    assert gateway.finish(task="embedding", input={"text": "four"}).output == [4.0, 1.0]
    scores = gateway.finish(task="pair-scoring", input={"query": "q", "texts": ["a", "abc", "ab"]})
    assert scores.output == [1, 3, 2]


@pytest.mark.parametrize("cut_after", [0, 1, 2])
def test_a_cut_stream_is_never_a_short_success(
    start_upstream: Start, open_gateway: Open, cut_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_retry, "RETRY_FOR_SECONDS", 0.3)
    watched = open_gateway(registered(start_upstream(cut_after=cut_after), "gpu")).submit()
    assert isinstance(watched.ending, Failed)
    assert "broke" in watched.ending.error
    assert len(watched.chunks) <= cut_after


def test_a_cut_stream_begins_anew_on_another_backend(start_upstream: Start, open_gateway: Open) -> None:
    cut = start_upstream(cut_after=2, words=("One", " two", " three"))
    gateway = open_gateway(registered(cut, "a"), registered(start_upstream(), "b"))
    watched = gateway.submit()
    assert watched.ending.output == ["Hello", " there", "!"]
    assert any(isinstance(event, Restarted) for event in watched.events)
    assert watched.ending.metrics["backends_tried"] == ["a", "b"]


def test_what_was_cut_never_begins_anew_where_it_was_cut(start_upstream: Start, open_gateway: Open) -> None:
    one, other = (registered(start_upstream(), name, max_concurrency=1) for name in ("one", "other"))
    gateway = open_gateway(one, other)
    choices = [BackendChoice(name, "tiny-chat") for name in ("one", "other")]

    async def lease_elsewhere() -> str:
        with await gateway.pool.lease(choices[1:], "v", ""):
            waiting = asyncio.create_task(gateway.pool.lease(choices, "v", "", {"one"}, is_cut=True))
            await asyncio.sleep(0)
            assert not waiting.done(), "the other one is full: it waits"
        gateway.pool.release("other")
        with await waiting as lease:
            return lease.choice.name

    async def lease_nowhere() -> None:
        await gateway.pool.lease(choices, "v", "", {"one"}, is_cut=True)

    assert gateway.engine.call(lease_elsewhere()) == "other"
    gateway.replace(one, replace(other, draining=True))
    with pytest.raises(UpstreamFailed, match="no other backend"):
        gateway.engine.call(lease_nowhere())


def test_a_failure_before_the_first_byte_is_retried_elsewhere_and_both_are_named(
    start_upstream: Start, open_gateway: Open
) -> None:
    broken, well = start_upstream(status=500), start_upstream()
    ending = open_gateway(registered(broken, "a"), registered(well, "b")).finish()
    assert (ending.metrics["backend"], ending.metrics["backends_tried"]) == ("b", ["a", "b"])
    assert broken.calls["/v1/completions"] == well.calls["/v1/completions"] == 1


def test_a_backend_that_comes_back_gets_the_prediction_again(
    start_upstream: Start, open_gateway: Open
) -> None:
    upstream = start_upstream(status=500, times=2)
    assert open_gateway(registered(upstream, "a")).finish().output
    assert upstream.calls["/v1/completions"] == 3


def test_retry_after_is_honoured(start_upstream: Start, open_gateway: Open) -> None:
    upstream = start_upstream(status=429, times=1, retry_after="1")
    began = time.monotonic()
    assert open_gateway(registered(upstream, "a")).finish().output
    assert time.monotonic() - began >= 1.0


def test_a_backend_that_is_busy_for_long_fails_the_prediction_by_its_deadline(
    start_upstream: Start, open_gateway: Open
) -> None:
    upstream = start_upstream(status=429, retry_after="3600")
    ending = open_gateway(registered(upstream, "a")).submit().ending
    assert (type(ending), ending.code) == (Failed, "model_unavailable")
    assert upstream.calls["/v1/completions"] == 1


def test_a_wrong_input_fails_at_once_in_the_backends_words(start_upstream: Start, open_gateway: Open) -> None:
    first, second = start_upstream(status=422), start_upstream()
    ending = open_gateway(registered(first, "a"), registered(second, "b")).submit().ending
    assert ending.code == "invalid_input"
    assert ending.error == "backend a: answered 422: not now"
    assert not second.calls


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"raw": b"<html>"}, "does not stream"),
        ({"hang": True}, "said nothing for 0.3 s"),
        ({"status": 401}, "answered 401: not now"),
    ],
)
def test_nonsense_silence_and_a_wrong_key_are_named(
    start_upstream: Start, open_gateway: Open, monkeypatch: pytest.MonkeyPatch, switches: dict, words: str
) -> None:
    monkeypatch.setattr(backend_retry, "RETRY_FOR_SECONDS", 0.2)
    backend = registered(start_upstream(**switches), "a", silence_seconds=0.3)
    ending = open_gateway(backend).submit().ending
    assert isinstance(ending, Failed)
    assert words in ending.error


def test_an_answer_that_is_no_json_fails(
    start_upstream: Start, open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_retry, "RETRY_FOR_SECONDS", 0.0)
    gateway = open_gateway(registered(start_upstream(raw=b"{nonsense"), "a"))
    ending = gateway.submit(task="embedding", input={"text": "x"}).ending
    assert "no JSON" in ending.error


def test_too_few_vectors_are_a_failure_with_both_numbers(
    start_upstream: Start, open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_retry, "RETRY_FOR_SECONDS", 0.0)
    raw = b'{"data": [{"index": 0, "embedding": [1]}]}'
    gateway = open_gateway(registered(start_upstream(raw=raw), "a"))
    ending = gateway.submit(task="embedding", input={"text": ["x", "y"]}).ending
    assert "1 results for 2 inputs" in ending.error


def test_a_cancel_reaches_the_backend(start_upstream: Start, open_gateway: Open) -> None:
    upstream = start_upstream(seconds=30)
    watched = open_gateway(registered(upstream, "a")).submit()
    eventually(lambda: upstream.running == 1)
    assert watched.handle
    watched.handle.cancel()
    assert isinstance(watched.ending, Canceled)
    eventually(lambda: upstream.canceled == 1)


def test_a_prediction_that_runs_too_long_is_ended(start_upstream: Start, open_gateway: Open) -> None:
    upstream = start_upstream(seconds=30)
    ending = open_gateway(registered(upstream, "a")).submit(timeout=0.3).ending
    assert ending.code == "run_timeout"
    eventually(lambda: upstream.canceled == 1)


def test_no_more_are_in_flight_than_the_backend_takes(start_upstream: Start, open_gateway: Open) -> None:
    upstream = start_upstream(seconds=0.05)
    gateway = open_gateway(registered(upstream, "a", max_concurrency=3))
    watched = gateway.submit_all([{"prompt": "x"}] * 12)
    assert all(isinstance(each.ending, Finished) for each in watched)
    assert upstream.most_running == 3


def test_an_open_breaker_lets_nothing_through_and_then_one(
    start_upstream: Start, open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_retry, "RETRY_FOR_SECONDS", 0.0)
    monkeypatch.setattr(breaker, "FIRST_REST_SECONDS", 1.0)
    upstream = start_upstream(status=500)
    gateway = open_gateway(registered(upstream, "a"))
    for _ in range(breaker.FAILURES):
        assert isinstance(gateway.submit().ending, Failed)
    calls = upstream.calls["/v1/completions"]
    assert set(gateway.engine.limits().values()) == {0}, "what waits is left in the queue"
    upstream.switches.status, upstream.switches.seconds = 200, 0.3
    watched = gateway.submit_all([{"prompt": "x"}] * 5)
    time.sleep(0.3)
    assert upstream.calls["/v1/completions"] == calls, "it is open"
    eventually(lambda: upstream.calls["/v1/completions"] == calls + 1)
    time.sleep(0.15)
    assert upstream.running == 1, "half-open: one tries it"
    assert all(isinstance(each.ending, Finished) for each in watched)


def test_a_prediction_waits_for_a_backend_that_is_not_there_yet(
    start_upstream: Start, open_gateway: Open
) -> None:
    gateway = open_gateway()
    gateway.names = ["late"]
    watched = gateway.submit()
    time.sleep(0.1)
    assert not watched.events
    gateway.replace(registered(start_upstream(), "late"))
    assert isinstance(watched.ending, Finished)


def test_a_drained_backend_gets_nothing_more(start_upstream: Start, open_gateway: Open) -> None:
    first, second = start_upstream(), start_upstream()
    gateway = open_gateway(registered(first, "a", draining=True), registered(second, "b"))
    assert gateway.finish().metrics["backend"] == "b"
    assert not first.calls


def test_turns_are_shared_evenly(start_upstream: Start, open_gateway: Open) -> None:
    first, second = start_upstream(), start_upstream()
    gateway = open_gateway(registered(first, "a"), registered(second, "b"))
    for each in gateway.submit_all([{"prompt": "x"}] * 40, strategy="round-robin"):
        assert isinstance(each.ending, Finished)
    assert first.calls["/v1/completions"] == second.calls["/v1/completions"] == 20


def test_an_overflow_gets_only_what_has_waited_so_long(start_upstream: Start, open_gateway: Open) -> None:
    own, paid = start_upstream(pause=0.3), start_upstream()
    gateway = open_gateway(registered(own, "own", max_concurrency=1), registered(paid, "paid"))
    overflow = {"paid": "backlog_seconds > 30"}
    first, second = gateway.submit_all([{"prompt": "x"}] * 2, only_when=overflow)
    assert [each.ending.metrics["backend"] for each in (first, second)] == ["own", "own"]
    old = gateway.submit_all([{"prompt": "x"}] * 2, only_when=overflow, age=31.0)
    assert sorted(each.ending.metrics["backend"] for each in old) == ["own", "paid"]


def test_a_request_has_its_own_backends_and_strategy(start_upstream: Start, open_gateway: Open) -> None:
    gateway = open_gateway(registered(start_upstream(), "a"), registered(start_upstream(), "b"))
    assert gateway.finish().metrics["backend"] == "a"
    assert gateway.finish(routing={"backends": ["b"]}).metrics["backend"] == "b"
    turns = gateway.submit_all([{"prompt": "x"}] * 4, routing={"strategy": "round-robin"})
    assert sorted(each.ending.metrics["backend"] for each in turns) == ["a", "a", "b", "b"]


def test_a_set_of_backends_stands_for_its_members_in_its_own_way(
    start_upstream: Start, open_gateway: Open
) -> None:
    members = [registered(start_upstream(), name) for name in ("a", "b")]
    pool = replace(members[0], id=uuid4(), name="pool", kind="hybrid", url="members:b,a")
    gateway = open_gateway(*members, pool)
    gateway.names = ["pool"]
    assert gateway.finish().metrics["backend"] == "b"
    in_turn = replace(pool, options={"strategy": "round-robin", "weights": {"a": 3}})
    gateway.replace(*members, in_turn)
    turns = gateway.submit_all([{"prompt": "x"}] * 4)
    assert sorted(each.ending.metrics["backend"] for each in turns) == ["a", "a", "a", "b"]
    gateway.replace(*members, replace(pool, draining=True))
    waiting = gateway.submit()
    gateway.replace(*members, pool)
    assert waiting.ending.metrics["backend"] == "b"

"""The pure rules about backends: who gets the next prediction, what becomes of a failed call, when a breaker
opens, how credentials are kept."""

import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.backends.breaker import FAILURES, PERMIT_SECONDS, Breaker, BreakerState
from app.backends.credentials import CredentialSealer
from app.backends.openai_pieces import StreamedText
from app.domain.backend_choice import EXPLORED, STRATEGIES, BackendFacts, choose, next_credits, rate
from app.domain.backend_retry import Fault, Retry, Tried, UpstreamFailed, next_step
from app.domain.backends import (
    Backend,
    BackendChoice,
    BackendReport,
    choices_of,
    overflow_seconds,
    sum_reports,
)
from app.domain.errors import InvalidRequest, Unavailable
from app.domain.hybrid import expand, hybrids_of, member_names, strategy_for
from app.domain.predictions import accepted_at, new_id
from app.domain.request_routing import RequestRouting
from app.domain.work import Failed
from app.services.backends.registry import ListedBackend
from app.services.backends.selection import choices_for, select
from app.services.backends.sync import model_name
from app.worker.gateway.gateway_versions import limit_with

THREE = [BackendFacts("a", "m", 1.0), BackendFacts("b", "m", 2.0), BackendFacts("c", "m", 1.0)]


def send(strategy: str, facts: list[BackendFacts], count: int = 1_000) -> Counter[str]:
    """Who gets so many predictions, each of which ends before the next comes."""
    draw, sent = random.Random(1), Counter[str]()
    for _ in range(count):
        chosen = choose(strategy, facts, draw.random())
        assert chosen
        sent[chosen.name] += 1
        credits = next_credits(facts, chosen)
        facts = [replace(each, credit=credits.get(each.name, each.credit)) for each in facts]
    return sent


def test_turns_follow_the_weights() -> None:
    sent = send("round-robin", THREE)
    assert abs(sent["b"] - 500) < 30
    assert abs(sent["a"] - 250) < 30


def test_one_that_was_away_is_owed_nothing_for_that_time() -> None:
    facts = [replace(THREE[0], unusable="it is unreachable"), THREE[1]]
    for _ in range(100):
        chosen = choose("round-robin", facts, 0.5)
        assert chosen
        credits = next_credits(facts, chosen)
        facts = [replace(each, credit=credits.get(each.name, each.credit)) for each in facts]
    sent = send("round-robin", [replace(facts[0], unusable=""), facts[1]], 30)
    assert abs(sent["a"] - 10) <= 1


def test_the_least_loaded_by_its_weight_is_next() -> None:
    loaded = [replace(each, in_flight=busy) for each, busy in zip(THREE, (3, 2, 4), strict=True)]
    assert choose("least-loaded", loaded, 0.5) == loaded[1]
    sent, in_flight = Counter[str](), Counter[str]()
    for _ in range(1_000):  # nothing ends
        now = [replace(each, in_flight=in_flight[each.name]) for each in THREE]
        chosen = choose("least-loaded", now, 0.5)
        assert chosen
        sent[chosen.name] += 1
        in_flight[chosen.name] += 1
    assert abs(sent["b"] - 500) < 30


def test_the_best_performance_gets_nearly_all_and_the_others_are_looked_at() -> None:
    measured = [
        BackendFacts("fast", "m", latency=0.1),
        BackendFacts("slow", "m", latency=0.4),
        BackendFacts("failing", "m", latency=0.08, error_rate=0.6),
    ]
    sent = send("best-performance", measured)
    assert abs(sent["fast"] / 1_000 - (1 - EXPLORED)) < 0.03
    assert sent["slow"]
    assert sent["failing"]


def test_failover_takes_the_first_that_can() -> None:
    assert send("failover", THREE) == {"a": 1_000}
    away = [replace(THREE[0], unusable="it is unreachable"), replace(THREE[1], free=0), THREE[2]]
    assert send("failover", away) == {"c": 1_000}


@given(
    st.sampled_from(sorted(STRATEGIES)),
    st.lists(
        st.builds(
            BackendFacts,
            name=st.text(min_size=1, max_size=3),
            model=st.just("m"),
            weight=st.floats(0.001, 1_000),
            unusable=st.sampled_from(["", "it is draining"]),
            free=st.integers(0, 3),
            in_flight=st.integers(0, 500),
            credit=st.floats(-1e6, 1e6),
            latency=st.floats(0, 100),
            error_rate=st.floats(0, 1),
        ),
        max_size=6,
    ),
    st.floats(0, 1),
)
def test_one_that_can_is_chosen_if_there_is_any(
    strategy: str, backends: list[BackendFacts], draw: float
) -> None:
    chosen = choose(strategy, backends, draw)
    assert (chosen is not None) == any(each.is_usable for each in backends)
    assert chosen is None or chosen.is_usable
    assert len(rate(strategy, backends)) == len(backends)
    assert all(each.reason for each in rate(strategy, backends))


def test_what_readers_have_had_is_retried_once_and_only_elsewhere() -> None:
    cut = UpstreamFailed("broke off")
    alone = Tried("a", 1.0, 1, has_output=True)
    assert isinstance(next_step(cut, alone), Failed)
    assert next_step(cut, replace(alone, others=True)) == Retry(0.0, elsewhere=True)
    assert isinstance(next_step(cut, replace(alone, others=True, restarts=1)), Failed)


def test_waits_grow_and_the_deadline_ends_them() -> None:
    failed = UpstreamFailed("answered 500")
    waits = [step.wait for n in range(1, 8) if isinstance(step := next_step(failed, Tried("a", 0, n)), Retry)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert isinstance(next_step(failed, Tried("a", 29.9, 3)), Failed)
    later = next_step(UpstreamFailed("429", Fault.BUSY, 7.0), Tried("a", 0, 1))
    assert later == Retry(7.0, elsewhere=True)


def test_a_breaker_opens_rests_longer_each_time_and_closes() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.allows(0.0)
        breaker.on_call()
        breaker.on_failure(0.0)
    assert breaker.state(1.0) is BreakerState.OPEN
    assert not breaker.allows(4.9)
    assert breaker.allows(5.0)
    breaker.on_call()
    assert breaker.state(5.0) is BreakerState.HALF_OPEN
    assert not breaker.allows(5.0)
    breaker.on_failure(5.0)
    assert not breaker.allows(14.9)
    assert breaker.allows(15.0)
    breaker.on_call()
    breaker.on_success()
    assert breaker.state(15.0) is BreakerState.CLOSED
    assert breaker.allows(15.0)


def test_a_canceled_try_leaves_a_breaker_half_open() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.on_failure(0.0)
    breaker.on_call()
    breaker.on_inconclusive()
    assert breaker.allows(6.0)


def test_a_permit_that_goes_unused_is_another_processs_next() -> None:
    breaker = Breaker(is_shared=True)
    for _ in range(FAILURES):
        breaker.on_failure(0.0)
    assert not breaker.needs_permit(4.9)
    assert breaker.needs_permit(6.0)
    breaker.permit(6.0)
    assert breaker.allows(6.5)
    assert not breaker.drop_unused_permit(6.5)
    over = 6.0 + PERMIT_SECONDS
    assert breaker.drop_unused_permit(over)
    assert not breaker.drop_unused_permit(over), "it is handed back once"
    assert not breaker.needs_permit(over + PERMIT_SECONDS - 0.1)
    assert breaker.needs_permit(over + PERMIT_SECONDS)
    breaker.permit(10.0)
    breaker.on_call()
    assert not breaker.drop_unused_permit(20.0), "it has been used"


def test_a_credential_is_opened_by_its_own_key_only() -> None:
    sealed = CredentialSealer("k" * 32).seal("sk-secret")
    assert b"sk-secret" not in sealed
    assert CredentialSealer("k" * 32).unseal(sealed) == "sk-secret"
    with pytest.raises(Unavailable, match="another SECRET_KEY"):
        CredentialSealer("l" * 32).unseal(sealed)


def test_fragments_of_tool_calls_are_one_piece() -> None:
    text = StreamedText()
    parts = [
        {"index": 0, "id": "c1", "function": {"name": "add", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"a":'}},
        {"index": 0, "function": {"arguments": "1}"}},
    ]
    for part in parts:
        assert text.add({"choices": [{"delta": {"tool_calls": [part]}}]}) is None
    text.add({"choices": [{"delta": {}, "finish_reason": "tool_calls"}]})
    function = {"name": "add", "arguments": '{"a":1}'}
    assert text.last_piece() == {"tool_calls": [{"id": "c1", "type": "function", "function": function}]}
    assert text.metrics()["finish_reason"] == "tool_calls"


def test_several_gateways_reports_are_added_up() -> None:
    both = sum_reports(
        [BackendReport("unreachable", "away", requests=2), BackendReport("healthy", requests=5, in_flight=1)]
    )
    assert (both.state, both.requests, both.in_flight) == ("healthy", 7, 1)
    assert sum_reports([]).state == "unknown"


@pytest.mark.parametrize(
    ("upstream", "name"),
    [
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("llama3:latest", "llama3-latest"),
        ("a..b", "a.b"),
        ("../", ""),
    ],
)
def test_a_model_gets_a_name_that_it_may_have(upstream: str, name: str) -> None:
    assert model_name(upstream) == name


def listed(name: str, report: BackendReport, **more: Any) -> ListedBackend:
    now = datetime.now(UTC)
    backend = Backend(
        id=uuid4(), name=name, kind="openai", url="http://x", created_at=now, updated_at=now, **more
    )
    return ListedBackend(backend, report)


def test_a_selection_is_explained_by_what_is_written_down() -> None:
    served = [{"name": "m", "task": "embedding"}]
    known = [
        listed("slow", BackendReport("healthy", latency_p50=2.0, requests=9), served=served),
        listed("fast", BackendReport("healthy", latency_p50=0.5, requests=9), served=served),
        listed("broken", BackendReport("open", models={"m": "open"}), served=served),
        listed("full", BackendReport("healthy", in_flight=64), served=served),
    ]
    selection = select(known, choices_for(known, "embedding", ""), "best-performance")
    assert selection.chosen == "fast"
    assert [each.facts.name for each in selection.candidates] == ["fast", "slow", "broken", "full"]
    assert [each.reason for each in selection.candidates[2:]] == [
        "its circuit breaker for m is open",
        "takes no more at once",
    ]


@pytest.mark.parametrize(
    ("held", "limit"),
    [(0, 750), (500, 750), (625, 750), (626, 626), (749, 749), (800, 750)],
)
def test_what_is_missing_is_claimed_when_it_is_worth_a_statement(held: int, limit: int) -> None:
    assert limit_with(500, held) == limit


def test_a_backend_with_few_places_is_filled_at_once_and_one_that_is_away_not_at_all() -> None:
    assert [limit_with(2, held) for held in range(5)] == [4, 4, 4, 4, 4]
    assert limit_with(0, 3) == 0


def test_a_condition_is_read_and_an_identifier_says_its_time() -> None:
    [choice] = choices_of({"backends": [{"name": "a", "model": "m", "only_when": "backlog_seconds > 2.5"}]})
    assert choice.overflow_seconds == 2.5
    assert choice.why_not(2.4) == "only when backlog_seconds > 2.5"
    assert not choice.why_not(2.6)
    with pytest.raises(ValueError, match="must be like"):
        overflow_seconds("now and then")
    assert accepted_at(new_id(1_764_000_000_123)) == 1_764_000_000.123


TWO_BACKENDS = {
    "strategy": "failover",
    "backends": [{"name": "gpu", "model": "m"}, {"name": "cloud", "model": "m"}],
}
OPEN = {**TWO_BACKENDS, "request_routing": {"strategies": ["round-robin"], "backends": True}}


def test_a_request_chooses_only_what_its_version_allows() -> None:
    version = choices_of(OPEN)
    asked = RequestRouting("round-robin", ("cloud",))
    asked.check(OPEN)
    assert asked.narrow(version, "failover") == ([version[1]], "round-robin")
    assert RequestRouting.from_json(asked.as_json()) == asked
    assert RequestRouting().narrow(version, "least-loaded") == (version, "least-loaded")
    for config, routing, field in (
        (TWO_BACKENDS, RequestRouting("round-robin"), "routing.strategy"),
        (TWO_BACKENDS, RequestRouting(backends=("gpu",)), "routing.backends"),
        (OPEN, RequestRouting("least-loaded"), "routing.strategy"),
        (OPEN, RequestRouting(backends=("gpu", "tpu")), "routing.backends"),
        ({}, RequestRouting("round-robin"), "routing"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            routing.check(config)
        assert [each.field for each in refused.value.fields] == [field]


def test_a_set_keeps_what_its_members_and_whoever_names_it_ask_for() -> None:
    now = datetime.now(UTC)
    options = {"models": {"cloud": "big"}, "only_when": {"cloud": "backlog_seconds > 30"}}
    row = Backend(
        id=uuid4(),
        name="pool",
        kind="hybrid",
        url="members:gpu,cloud",
        options={**options, "strategy": "least-loaded"},
        created_at=now,
        updated_at=now,
    )
    hybrids = hybrids_of([row])
    named = [BackendChoice("pool", "m", 2.0, 60.0)]
    assert expand(named, hybrids) == [
        BackendChoice("gpu", "m", 2.0, 60.0),
        BackendChoice("cloud", "big", 2.0, 60.0),
    ]
    assert strategy_for("", named, hybrids) == "least-loaded"
    assert strategy_for("round-robin", named, hybrids) == "round-robin"
    assert strategy_for("", choices_of(TWO_BACKENDS), hybrids) == "failover"
    assert expand(choices_of(TWO_BACKENDS), hybrids) == choices_of(TWO_BACKENDS)
    assert [member_names(url) for url in ("members:a,b,a", "members:", "http://a", "members:a,,b")] == [
        ("a", "b"),
        (),
        (),
        (),
    ]

"""Routing is a pure choice: which worker by which strategy, and never a worker that must not have it."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.routing import (
    STRATEGIES,
    Choice,
    Situation,
    VersionTrouble,
    WorkerFacts,
    choose,
    lasting_trouble,
    why_not,
)
from app.domain.versions import Placement


def worker(
    device: str = "cpu", running: int = 0, loaded: tuple[str, ...] = (), slots: int = 4, **more: object
) -> WorkerFacts:
    return replace(WorkerFacts(device, "h", slots, running, dict.fromkeys(loaded, 0)), **more)


def choice(workers: list[WorkerFacts], wish: str = "", strategy: str = "affinity", **more: object) -> Choice:
    return choose(Situation("v", Placement(device=wish, strategy=strategy), workers, **more))


@pytest.mark.parametrize(
    ("wish", "workers", "queue"),
    [
        ("", [], "any"),
        ("cuda", [], "cuda"),
        ("cuda", [worker()], "cuda"),
        ("cuda:1@h9", [worker()], "cuda:1@h9"),
        ("", [worker()], "cpu"),
        ("", [worker(loaded=("v",))], "cpu"),
        ("", [worker(), worker("cuda:0")], "cuda"),
        ("", [worker("cuda:0"), worker("cuda:1", loaded=("v",))], "cuda:1@h"),
        ("", [worker("cuda:0"), worker("cuda:1", running=4, loaded=("v",))], "cuda"),
        ("", [worker("cuda:0", running=4), worker()], "cpu"),
        ("", [worker("cuda:0", running=4, loaded=("v",)), worker()], "cuda"),
        ("cpu", [worker("cuda:0", loaded=("v",)), worker()], "cpu"),
        ("cuda:1", [worker("cuda:0"), worker("cuda:1", running=4)], "cuda:1@h"),
        ("cuda:7", [worker("cuda:0")], "unplaced"),
        ("marker", [worker()], "unplaced"),
        ("webhooks@x y", [worker()], "unplaced"),
    ],
)
def test_affinity_follows_the_wish_the_loaded_model_and_the_class(
    wish: str, workers: list[WorkerFacts], queue: str
) -> None:
    chosen = choice(workers, wish)
    assert chosen.queue == queue
    assert chosen.reasons
    assert chosen.as_json()["reasons"] == list(chosen.reasons)


def test_more_of_a_version_than_its_worker_takes_waits_for_whoever_is_free_first() -> None:
    warm, other = (
        worker("cuda:0", slots=99, loaded=("v",), limits={"v": 4}, pace={"v": 0.001}),
        worker("cuda:1", loaded=("v",), running=4),
    )
    for strategy in ("affinity", "least-loaded"):
        assert choice([warm, other], strategy=strategy).queue == "cuda:0@h"
        assert choice([warm, other], strategy=strategy, sent={"cuda:0@h": 4}).queue == "cuda"
        assert choice([replace(warm, loaded={"v": 3}, waiting=1), other], strategy=strategy).queue == "cuda"


@pytest.mark.parametrize(("pace", "pinned"), [({"v": 5.0}, 1), ({"v": 0.1}, 10), ({}, 1), ({"v": 0.001}, 60)])
def test_a_warm_worker_is_waited_for_only_when_it_begins_soon(pace: dict[str, float], pinned: int) -> None:
    """60 predictions of 5 s all went to the warm worker, and none to the one beside it."""
    workers = [worker("cuda:0", slots=99, loaded=("v",), pace=pace), worker("cuda:1", slots=99)]
    sent: Counter[str] = Counter()
    for _ in range(60):
        sent[choice(workers, sent=sent).queue] += 1
    assert sent == Counter({"cuda:0@h": pinned, "cuda": 60 - pinned})


def test_in_turn_every_worker_gets_as_many() -> None:
    workers = [worker(), worker("cuda:0"), worker("cuda:1", running=3)]
    queues = Counter(choice(workers, strategy="round-robin", turn=turn).queue for turn in range(9))
    assert queues == {"cpu@h": 3, "cuda:0@h": 3, "cuda:1@h": 3}


def test_a_worker_with_too_much_to_do_loses_its_turn() -> None:
    workers = [worker("cuda:0", running=4, waiting=4), worker("cuda:1")]
    assert {choice(workers, strategy="round-robin", turn=turn).queue for turn in range(4)} == {"cuda:1@h"}


def test_the_least_loaded_is_the_one_with_the_smallest_share_in_use_waiting_or_just_sent() -> None:
    workers = [worker("cuda:0", running=2, slots=8), worker("cuda:1", running=2, slots=4)]
    assert choice(workers, strategy="least-loaded").queue == "cuda:0@h"
    assert choice(workers, strategy="least-loaded", sent={"cuda:0@h": 3}).queue == "cuda:1@h"
    assert choice([replace(workers[0], waiting=6), workers[1]], strategy="least-loaded").queue == "cuda:1@h"


def test_when_all_are_full_whoever_is_free_first_takes_it() -> None:
    full = [worker("cuda:0", running=4), worker("cuda:1", running=9)]
    for strategy in ("affinity", "least-loaded"):
        assert choice(full, strategy=strategy).queue == "cuda"


def test_the_fastest_gets_it_until_others_would_end_it_sooner() -> None:
    fast, slow = (
        worker("cuda:0", pace={"v": 0.1}, loaded=("v",)),
        worker("cpu", pace={"v": 0.35}, loaded=("v",)),
    )
    assert choice([fast, slow], strategy="best-performance").queue == "cuda:0@h"
    assert choice([replace(fast, loaded={"v": 2}), slow], strategy="best-performance").queue == "cuda:0@h"
    assert choice([replace(fast, loaded={"v": 3}), slow], strategy="best-performance").queue == "cpu@h"


def test_a_worker_that_never_ran_it_is_tried_when_the_fastest_has_work() -> None:
    known, new = worker("cuda:0", pace={"v": 0.1}, loaded=("v",)), worker("cuda:1")
    assert choice([known, new], strategy="best-performance").queue == "cuda:0@h"
    assert choice([replace(known, loaded={"v": 1}), new], strategy="best-performance").queue == "cuda:1@h"


def test_a_preference_is_followed_while_there_is_room() -> None:
    wants = Placement(preferred_device="cpu")
    assert choose(Situation("v", wants, [worker("cuda:0"), worker()])).queue == "cpu"
    full = choose(Situation("v", wants, [worker("cuda:0"), worker(running=4)]))
    assert full.queue == "cuda"
    assert "preferred" not in " ".join(full.reasons)


def test_more_memory_is_required_than_the_class_has_everywhere() -> None:
    small, large = worker("cuda:0", memory_bytes=16), worker("cuda:1", memory_bytes=80, running=9)
    wants = Placement(memory_bytes=40)
    chosen = choose(Situation("v", wants, [small, large]))
    assert chosen.queue == "cuda:1@h"
    assert chosen.as_json()["requires"] == {"memory_bytes": 40}
    assert choose(Situation("v", wants, [small])).queue == "unplaced"
    assert choose(Situation("v", wants, [large])).queue == "cuda"


def test_an_unhealthy_worker_is_left_out_and_only_when_all_are_the_version_is_closed() -> None:
    ill = worker("cuda:0", troubles={"v": VersionTrouble("it dies", 9)})
    assert choice([ill, worker("cuda:1")]).queue == "cuda:1@h"
    assert lasting_trouble(Situation("v", Placement(), [ill, worker("cuda:1")])) is None
    worse = replace(ill, device="cuda:1", troubles={"v": VersionTrouble("it dies", 4)})
    assert lasting_trouble(Situation("v", Placement(), [ill, worse])) == VersionTrouble("it dies", 4)
    passing = replace(ill, device="cuda:2", troubles={"v": VersionTrouble("it dies", 4, lasting=False)})
    assert lasting_trouble(Situation("v", Placement(), [ill, passing])) is None
    assert choice([passing]).queue == "cuda"
    assert lasting_trouble(Situation("other", Placement(), [ill, worse])) is None
    assert lasting_trouble(Situation("v", Placement(device="cpu"), [ill, worker()])) is None
    assert lasting_trouble(Situation("v", Placement(device="cuda"), [ill, worker()])) == VersionTrouble(
        "it dies", 9
    )


CLASSES = ["cpu", "cuda:0", "cuda:1", "odd:3"]
TROUBLES = st.sampled_from([{}, {}, {"v": VersionTrouble("ill", 1.0)}])
WORKERS = st.lists(
    st.builds(
        WorkerFacts,
        st.sampled_from(CLASSES),
        st.sampled_from("ab"),
        st.integers(1, 8),
        st.integers(0, 9),
        st.sampled_from([{}, {"v": 0}, {"v": 5}]),
        st.sampled_from([{}, {"v": 0.1}]),
        TROUBLES,
        st.integers(0, 9),
        st.sampled_from([0, 10, 100]),
        st.booleans(),
    ),
    unique_by=lambda one: one.pinned,
    max_size=6,
)
PLACEMENTS = st.builds(
    Placement,
    st.sampled_from(["", "cpu", "cuda", "cuda:1"]),
    st.sampled_from([0, 50]),
    st.sampled_from(["", "cpu", "cuda:0@a"]),
    st.sampled_from([0, 50]),
    st.sampled_from(sorted(STRATEGIES)),
)


@given(WORKERS, PLACEMENTS, st.integers(0, 99))
def test_nobody_reads_the_chosen_queue_who_must_not_have_it(
    workers: list[WorkerFacts], wants: Placement, turn: int
) -> None:
    chosen = choose(Situation("v", wants, workers, turn=turn))
    readers = [
        one for one in workers if not one.draining and chosen.queue in (one.pinned, one.device_class, "any")
    ]
    fitting = [one for one in workers if why_not("v", wants, one) is None]
    if fitting:
        assert readers
        assert all(one in fitting for one in readers)
    assert all((one.score is not None) == (one.worker in fitting) for one in chosen.candidates)
    assert all(one.reason for one in chosen.candidates)


@given(WORKERS, PLACEMENTS)
def test_of_a_burst_no_fitting_worker_with_room_is_left_out(
    workers: list[WorkerFacts], wants: Placement
) -> None:
    wants = replace(wants, strategy="least-loaded", preferred_device="", preferred_memory_bytes=0)
    sent: Counter[str] = Counter()
    for _ in range(200):
        sent[choose(Situation("v", wants, workers, sent)).queue] += 1
    fitting = [one for one in workers if why_not("v", wants, one) is None]
    for one in fitting:
        if one.running + one.waiting < one.slots and len(fitting) > 1:
            assert sent[one.pinned] >= one.slots - one.running - one.waiting

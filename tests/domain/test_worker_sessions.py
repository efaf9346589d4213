"""Which worker a session leads to."""

import pytest

from app.domain.errors import InvalidRequest
from app.domain.routing import Candidate, WorkerFacts
from app.domain.versions import RunnableVersion
from app.domain.worker_sessions import Requirements, choose_worker


def candidate(host: str, *, score: float | None = 1.0, running: int = 0, address: str = "a:1") -> Candidate:
    worker = WorkerFacts("cpu", host, 4, running, address=address)
    return Candidate(worker, score, "")


FLEET = [candidate(f"host{number}") for number in range(5)]


def test_without_a_key_the_policys_best_that_takes_direct_calls_is_chosen() -> None:
    deaf = candidate("silent", address="")
    ill = candidate("ill", score=None)
    chosen = choose_worker([deaf, ill, *FLEET])
    assert chosen
    assert chosen.host == "host0"
    assert choose_worker([deaf, ill]) is None


def test_a_key_stays_with_its_worker_until_that_is_gone_or_full() -> None:
    keys = [f"k{number}" for number in range(40)]
    before = {key: choose_worker(FLEET, key) for key in keys}
    assert before == {key: choose_worker(FLEET[::-1], key) for key in keys}, "in whatever order they come"
    assert len({worker.host for worker in before.values() if worker}) == 5
    without = {key: choose_worker(FLEET[1:], key) for key in keys}
    moved = [key for key in keys if before[key] != without[key]]
    assert moved == [key for key in keys if before[key] and before[key].host == "host0"]
    full = [candidate("host0", running=4), *FLEET[1:]]
    assert {key: choose_worker(full, key) for key in keys} == without


def test_workers_that_did_not_answer_are_passed_over_while_there_is_another() -> None:
    for key in ("", "k1"):
        chosen = choose_worker(FLEET, key)
        assert chosen
        other = choose_worker(FLEET, key, [chosen.pinned])
        assert other
        assert other.host != chosen.host
        assert choose_worker(FLEET, key, [each.worker.pinned for each in FLEET]) == chosen


def test_a_worker_must_have_what_the_session_requires() -> None:
    small = Candidate(WorkerFacts("cpu", "small", 4, 0, memory_bytes=10, address="a:1"), 1.0, "")
    large = Candidate(WorkerFacts("cuda:0", "large", 4, 0, memory_bytes=90, address="a:1"), 2.0, "")
    gateway = Candidate(WorkerFacts("backends", "gate", 4, 0, address="a:1"), 1.0, "")
    fleet = [small, large, gateway]
    for requirements, left in (
        (Requirements(), fleet),
        (Requirements(task="chat"), fleet),
        (Requirements(device="cuda"), [large]),
        (Requirements(device="cuda:0@large"), [large]),
        (Requirements(memory_bytes=50), [large]),
        (Requirements(memory_bytes=5), [small, large]),
        (Requirements(device="cpu", memory_bytes=50), []),
    ):
        assert requirements.select(fleet) == left, requirements


def test_what_no_worker_could_ever_meet_is_refused() -> None:
    version = RunnableVersion("v", "ada/echo", {}, False, task="echo")
    Requirements(device="cuda:1", memory_bytes=2**50, task="echo").check(version)
    with pytest.raises(InvalidRequest, match=r"requirements\.task: is chat, and ada/echo is for echo"):
        Requirements(task="chat").check(version)
    with pytest.raises(InvalidRequest, match=r"requirements\.device"):
        Requirements(device="toaster").check(version)

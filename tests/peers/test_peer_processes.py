"""Peers among themselves: three processes, outsiders, a third party, and what is killed or hangs."""

import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peer_nodes import PYTHON, PeerNode
from small_platform import KEY, SmallPlatform
from waiting import eventually

from app.domain.peers import MOST_TRIES

pytestmark = [pytest.mark.quiet, pytest.mark.timeout(300)]
MODEL = "ada/words"
SHARED = {"shared_key": "5a" * 32}
SILENCE = 3.0
SLACK = 8.0  # seconds for a machine that runs other tests; the bound itself is SILENCE for each try
BOUND = SILENCE * MOST_TRIES + SLACK
LONG = 80  # words: 4 s, in which it is asked what it can do, which it does not say
THIRD_PARTY = Path(__file__).with_name("third_party.py")
Start = Callable[..., PeerNode]
Options = Callable[..., dict[str, Any]]


@pytest.fixture
def three(begin_peer: Start, serving: Options) -> tuple[PeerNode, PeerNode, PeerNode]:
    """One that asks and two that serve; the one that asks knows the first of them alone."""
    both = {**SHARED, "silence": SILENCE, "limit": 4}
    first = begin_peer("first", **both, **serving(pause=0.1)).wait_ready()
    second = begin_peer("second", **both, **serving(pause=0.1), bootstrap=first.addresses)
    asking = begin_peer("asking", **both, bootstrap=first.addresses)
    asking.wait_ready(), second.wait_ready()
    eventually(lambda: asking.reaches("first", "second"), 60)
    return asking, first, second


def pieces_of(messages: list[dict[str, Any]]) -> str:
    return "".join(each.get("piece", "") for each in messages)


def words(count: int) -> str:
    return "".join(f"w{number} " for number in range(count))


def ask_many(asking: PeerNode, count: int, seconds: float) -> list[tuple[float, list[dict[str, Any]]]]:
    """So many at once: how long each took, and what came of it."""
    answers: list[tuple[float, list[dict[str, Any]]]] = []

    def ask() -> None:
        began = time.monotonic()
        answers.append((0.0, []))
        messages = asking.ask(MODEL, {"words": 5})
        answers[answers.index((0.0, []))] = (time.monotonic() - began, messages)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    return answers


def test_peers_meet_through_one_of_them_and_share_the_work(
    three: tuple[PeerNode, PeerNode, PeerNode],
) -> None:
    asking, first, second = three
    assert [each["name"] for each in asking.peer("first")["models"]] == [MODEL], (
        "and none that runs elsewhere"
    )
    answers = [messages for _, messages in ask_many(asking, 6, 60)]
    assert {pieces_of(each) for each in answers} == {words(5)}
    assert {each[-1]["peer"] for each in answers} == {first.id, second.id}
    assert asking.ask(MODEL, {"text": "hello"})[-1]["output"] == "hello"


def test_what_is_wrong_is_not_tried_again(three: tuple[PeerNode, PeerNode, PeerNode]) -> None:
    *_, failed, last = three[0].ask(MODEL, {"words": -1})
    assert "words must be positive" in failed["reason"]
    assert last["fault"] == "input"
    *_, last = three[0].ask("ada/unknown", {"text": "x"})
    assert last["error"] == "has no reachable peer that serves ada/unknown"
    *_, last = three[0].ask(f"{MODEL}:{'9' * 64}", {"text": "x"})
    assert "no reachable peer" in last["error"]
    assert three[0].ask(f"{MODEL}:{'1' * 64}", {"text": "x"})[-1]["output"] == "x"


def test_a_hanging_peer_costs_its_silence_and_a_killed_one_nothing(
    three: tuple[PeerNode, PeerNode, PeerNode],
) -> None:
    asking, first, second = three
    first.process.send_signal(signal.SIGSTOP)
    answers = ask_many(asking, 6, BOUND)
    assert {pieces_of(messages) for _, messages in answers} == {words(5)}
    assert {messages[-1]["peer"] for _, messages in answers} == {second.id}
    assert max(seconds for seconds, _ in answers) < BOUND
    assert any("said nothing" in str(messages) or "took no call" in str(messages) for _, messages in answers)
    first.process.send_signal(signal.SIGCONT)
    eventually(lambda: asking.reaches("first", "second"))
    second.process.kill()
    answers = ask_many(asking, 4, BOUND)
    assert {pieces_of(messages) for _, messages in answers} == {words(5)}
    assert {messages[-1]["peer"] for _, messages in answers} == {first.id}


def test_a_peer_that_is_killed_in_the_middle_is_a_failure_and_never_a_short_answer(
    three: tuple[PeerNode, PeerNode, PeerNode],
) -> None:
    asking, first, _ = three
    with asking.asking(MODEL, {"words": 100}, "first") as messages:
        assert "piece" in next(each for each in messages if "alive" not in each)
        first.process.kill()
        rest = [each for each in messages if "alive" not in each]
    assert "error" in rest[-1]
    assert not any(each.get("done") for each in rest)
    eventually(lambda: asking.peer("first")["state"] == "unreachable")


def test_what_has_sent_a_piece_is_asked_of_no_other_peer(
    begin_peer: Start, platforms: Callable[..., SmallPlatform]
) -> None:
    own = {name: platforms(pause=0.1) for name in ("first", "second")}
    nodes = {
        name: begin_peer(name, **SHARED, silence=SILENCE, api_url=platform.url, api_key=KEY)
        for name, platform in own.items()
    }
    known = [address for node in nodes.values() for address in node.wait_ready().addresses]
    asking = begin_peer("asking", **SHARED, silence=SILENCE, bootstrap=known).wait_ready()
    eventually(lambda: asking.reaches("first", "second"), 60)
    with asking.asking(MODEL, {"words": 100}) as messages:
        assert "piece" in next(each for each in messages if "alive" not in each)
        [serving] = [name for name in nodes if own[name].predictions]
        nodes[serving].process.kill()
        *_, failed, last = [each for each in messages if "alive" not in each]
    assert failed["failed"] == nodes[serving].id
    assert "error" in last
    assert sum(len(platform.predictions) for platform in own.values()) == 1


def test_a_stream_that_is_cut_on_the_serving_platform_is_resumed(
    start_peer: Start, platforms: Callable[..., SmallPlatform]
) -> None:
    platform = platforms(cuts=True)
    serving = start_peer("serving", **SHARED, api_url=platform.url, api_key=KEY)
    asking = start_peer("asking", **SHARED, bootstrap=serving.addresses)
    eventually(lambda: asking.reaches("serving"))
    messages = asking.ask(MODEL, {"words": 7})
    assert pieces_of(messages) == words(7)
    assert messages[-1]["pieces"] == 7


def test_a_peer_that_refuses_is_the_last_to_be_asked_again(
    start_peer: Start, platforms: Callable[..., SmallPlatform]
) -> None:
    good, bad = platforms(), platforms()
    one = start_peer("one", **SHARED, api_url=good.url, api_key=KEY)
    other = start_peer("other", **SHARED, api_url=bad.url, api_key=KEY)
    asking = start_peer("asking", **SHARED, bootstrap=[*one.addresses, *other.addresses])
    eventually(lambda: asking.reaches("one", "other"))
    bad.refuses = True
    answers = [asking.ask(MODEL, {"words": 2}) for _ in range(6)]
    assert {pieces_of(each) for each in answers} == {words(2)}
    assert sum("failed" in message for each in answers for message in each) <= 1
    assert asking.peer("other")["state"] == "reachable"


def test_who_hangs_up_cancels_over_there(start_peer: Start, platforms: Callable[..., SmallPlatform]) -> None:
    platform = platforms(pause=0.1)
    serving = start_peer("serving", **SHARED, api_url=platform.url, api_key=KEY)
    asking = start_peer("asking", **SHARED, bootstrap=serving.addresses)
    eventually(lambda: asking.reaches("serving"))
    with asking.asking(MODEL, {"words": 300}) as messages:
        assert "piece" in next(each for each in messages if "alive" not in each)
    eventually(lambda: platform.canceled)
    eventually(lambda: serving.overview()["running"] == 0)


def test_a_full_peer_says_so(start_peer: Start, serving: Options) -> None:
    one = start_peer("one", **SHARED, **serving(pause=0.1), limit=1)
    asking = start_peer("asking", **SHARED, bootstrap=one.addresses)
    eventually(lambda: asking.reaches("one"))
    with asking.asking(MODEL, {"words": 300}) as messages:
        assert "piece" in next(each for each in messages if "alive" not in each)
        assert asking.ask(MODEL, {"text": "x"})[-1]["fault"] == "busy"


def test_inputs_and_outputs_of_megabytes_are_carried_in_frames(start_peer: Start, serving: Options) -> None:
    one = start_peer("one", **SHARED, **serving())
    asking = start_peer("asking", **SHARED, bootstrap=one.addresses)
    eventually(lambda: asking.reaches("one"))
    text = secrets.token_hex(4_000_000)
    assert asking.ask(MODEL, {"text": text})[-1]["output"] == text


def third_party(seed: str, node: PeerNode, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [PYTHON, str(THIRD_PARTY), seed, node.addresses[0], MODEL, json.dumps({"words": LONG}), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)


def id_of(seed: str) -> str:
    code = "import sys; from libp2p.crypto.ed25519 import create_new_key_pair as made; "
    code += (
        "from libp2p.peer.id import ID; print(ID.from_pubkey(made(bytes.fromhex(sys.argv[1])).public_key))"
    )
    return subprocess.run(
        [PYTHON, "-c", code, seed], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_third_party_on_bare_libp2p_is_served_and_an_outsider_is_not_answered(
    start_peer: Start, serving: Options
) -> None:
    friend, outsider = secrets.token_hex(32), secrets.token_hex(32)
    node = start_peer("one", allowed=[id_of(friend)], **serving())
    eventually(lambda: node.overview()["offers"])
    good = third_party(friend, node)
    said = [json.loads(line) for line in good.stdout.splitlines()]
    assert said[0]["models"] == [{"name": MODEL, "version": "1" * 64, "task": "words", "streams": True}]
    assert pieces_of(said) == words(LONG)
    assert said[-1]["done"]
    bad = third_party(outsider, node)
    assert (bad.returncode, bad.stdout) == (1, "")
    assert [each["id"] for each in node.overview()["peers"]] == [id_of(friend)]


def test_without_the_shared_key_nobody_is_answered(start_peer: Start, serving: Options) -> None:
    node = start_peer("one", **SHARED, **serving())
    eventually(lambda: node.overview()["offers"])
    seed = secrets.token_hex(32)
    good = third_party(seed, node, SHARED["shared_key"])
    assert good.returncode == 0, good.stdout[-500:] + good.stderr[-500:]
    for key in ([], ["6b" * 32]):
        bad = third_party(seed, node, *key)
        assert (bad.returncode, bad.stdout) == (1, "")


def test_the_identity_is_kept_and_is_nobody_elses_to_read(begin_peer: Start) -> None:
    node = begin_peer("one", **SHARED).wait_ready()
    identity = node.folder / "identity"
    assert oct(identity.stat().st_mode & 0o777) == "0o600"
    assert oct((node.folder / "control.json").stat().st_mode & 0o777) == "0o600"
    assert node.process.stdin
    node.process.stdin.close()
    assert node.process.wait(30) == 0
    assert not (node.folder / "control.json").exists()
    assert begin_peer("one", **SHARED).wait_ready().id == node.id
    os.chmod(identity, 0o644)
    refused = begin_peer("one", **SHARED).said.get(timeout=60)
    assert refused["event"] == "peer_not_started"
    assert "chmod 600" in refused["reason"]


def test_the_door_wants_its_token(start_peer: Start) -> None:
    node = start_peer("one", **SHARED)
    with node.client() as client:
        assert client.get("/peers").status_code == 200
        assert client.get("/peers", headers={"Authorization": "Bearer x"}).status_code == 401
        assert client.get("/nothing").status_code == 404


def test_peers_on_one_network_find_each_other_by_mdns(begin_peer: Start, serving: Options) -> None:
    both = {**SHARED, "mdns": True, "network": f"t{secrets.token_hex(5)}"}
    one, other = begin_peer("one", **both, **serving()), begin_peer("other", **both)
    one.wait_ready(), other.wait_ready()
    eventually(lambda: other.reaches("one"), 60)

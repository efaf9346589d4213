"""What peers say to each other, and which of them gets a prediction: rules, without libp2p."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain import peers
from app.domain.peers import (
    FRAME_BYTES,
    BadMessage,
    Capabilities,
    Joiner,
    PeerFacts,
    PeerModel,
    cut,
    rank_peers,
)
from app.settings import Settings

IDS = [f"12D3KooW{letter * 44}" for letter in "abcd"]
MODEL = "ada/words"


def peer(number: int, *, running: int = 0, reachable: bool = True, **more) -> PeerFacts:
    models = (PeerModel(MODEL, f"v{number}"),)
    said = Capabilities(name=f"n{number}", models=models, running=running, limit=4)
    return PeerFacts(IDS[number], reachable, said, **more)


@pytest.mark.parametrize("length", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, 3 * FRAME_BYTES])
def test_a_message_is_cut_into_frames_and_put_together_again(length: int) -> None:
    message = bytes(number % 251 for number in range(length))
    frames, joiner = list(cut(message)), Joiner()
    assert max(map(len, frames)) <= FRAME_BYTES
    *rest, last = [joiner.add(frame) for frame in frames]
    assert (rest, last) == ([None] * (len(frames) - 1), message)
    assert joiner.add(b"\x01again") == b"again"


def test_what_is_too_long_or_has_no_mark_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadMessage):
        Joiner().add(b"\x02x")
    with pytest.raises(BadMessage):
        Joiner().add(b"")
    monkeypatch.setattr(peers, "MOST_BYTES", 10)
    joiner = Joiner()
    assert joiner.add(b"\x00" + b"x" * 10) is None
    with pytest.raises(BadMessage):
        joiner.add(b"\x01x")
    with pytest.raises(BadMessage):
        list(cut(b"x" * 11))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_whatever_a_peer_says_of_itself_is_understood_or_refused(value: object) -> None:
    for name in ("models", "peers", "limit", "addresses", "name"):
        try:
            said = Capabilities.from_json({name: value})
        except BadMessage:
            continue
        assert Capabilities.from_json(said.as_json()) == said


def test_what_a_peer_says_arrives_as_it_was() -> None:
    model = PeerModel(MODEL, "v1", "words", True)
    said = Capabilities("n", (model,), 1, 4, ("/ip4/1.2.3.4/tcp/1",), {IDS[0]: ("/ip4/1.2.3.5/tcp/1",)})
    assert Capabilities.from_json(said.as_json()) == said
    many = {"models": [{"name": f"a/{number}"} for number in range(1_000)]}
    assert len(Capabilities.from_json(many).models) == peers.MOST_MODELS


def test_the_least_loaded_reachable_peer_that_has_the_model_is_the_first() -> None:
    known = [peer(0, running=3), peer(1, running=1), peer(2, reachable=False), peer(3, in_flight=2)]
    for order in itertools.permutations(known):
        assert rank_peers(order, MODEL) == [IDS[1], IDS[3], IDS[0]]
    assert rank_peers(known, "ada/other") == []
    assert rank_peers(known, f"{MODEL}:v3") == [IDS[3]]
    assert rank_peers(known, MODEL, ["n0", IDS[3]]) == [IDS[3], IDS[0]]
    assert rank_peers([peer(0), peer(1, error_rate=0.5), peer(2, running=1)], MODEL) == [
        IDS[0],
        IDS[2],
        IDS[1],
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("p2p_allowed_peers", "ada"),
        ("p2p_shared_key", "ab"),
        ("p2p_listen", "127.0.0.1:4001"),
        ("p2p_bootstrap", "/ip4/10.0.0.7/tcp/4001"),
        ("p2p_models", "words"),
        ("p2p_network", "not a label"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(lovage_env="development", **{name: value})


def test_settings_as_the_documentation_writes_them_are_taken() -> None:
    settings = Settings(
        lovage_env="development",
        p2p_allowed_peers=",".join(IDS),
        p2p_shared_key="0f" * 32,
        p2p_bootstrap=f"/ip4/10.0.0.7/tcp/4001/p2p/{IDS[0]}, /dns4/peer.example.org/tcp/4001/p2p/{IDS[1]}",
        p2p_models="ada/words,demo/echo",
    )
    assert settings.features["p2p"] is False

"""Which peers are known, and which of them are there."""

from app.domain.peers import MOST_PEERS, Capabilities, PeerModel
from app.peers.peer_table import PeerTable

OWN, FRIEND, OTHER = (f"12D3KooW{letter * 44}" for letter in "abc")
SAID = Capabilities("friend", (PeerModel("ada/words", "v1"),), 0, 4, (f"/ip4/1.2.3.4/tcp/1/p2p/{FRIEND}",))


def test_only_allowed_peers_are_known_and_never_oneself() -> None:
    table = PeerTable(OWN, [FRIEND, OWN], 5.0)
    assert table.learn(OWN) is None
    assert table.learn(OTHER) is None
    assert table.learn("no id") is None
    assert table.learn(FRIEND, ["/ip4/1.2.3.4/tcp/2"]) is table.learn(FRIEND)
    assert PeerTable(OWN, [], 5.0).learn(OTHER)


def test_a_peer_is_reachable_while_it_says_what_it_can_do() -> None:
    table = PeerTable(OWN, [], 5.0)
    friend = table.learn(FRIEND)
    assert friend
    assert table.rank("ada/words", [], 0.0) == []
    table.on_exchange(friend, SAID, 10.0)
    assert table.rank("ada/words", [], 16.9) == [FRIEND]
    assert table.rank("ada/words", [], 17.1) == []
    assert table.reachable_addresses(11.0) == {FRIEND: SAID.addresses}


def test_a_failure_takes_it_out_until_it_speaks_again() -> None:
    table = PeerTable(OWN, [], 5.0)
    friend = table.learn(FRIEND)
    assert friend
    table.on_exchange(friend, SAID, 10.0)
    table.on_failure(friend, "broke off")
    assert table.rank("ada/words", [], 10.1) == []
    (shown,) = table.describe(10.1)
    assert (shown["state"], shown["failures"], shown["last_failure"]) == ("unreachable", 1, "broke off")
    table.on_exchange(friend, SAID, 11.0)
    assert table.rank("ada/words", [], 11.1) == [FRIEND]
    rate = friend.error_rate
    table.on_answer(friend)
    assert friend.error_rate < rate


def test_a_peer_that_refuses_stays_and_is_the_last() -> None:
    table = PeerTable(OWN, [], 5.0)
    for id_ in (FRIEND, OTHER):
        peer = table.learn(id_)
        assert peer
        table.on_exchange(peer, SAID, 10.0)
    assert table.rank("ada/words", [], 10.1) == [FRIEND, OTHER]
    table.on_refusal(table.peers[FRIEND], "answered 403")
    assert table.rank("ada/words", [], 10.1) == [OTHER, FRIEND]
    (shown, _) = sorted(table.describe(10.1), key=lambda each: each["failures"], reverse=True)
    assert (shown["id"], shown["state"], shown["last_failure"]) == (FRIEND, "reachable", "answered 403")


def test_of_too_many_peers_one_that_is_away_is_forgotten() -> None:
    table = PeerTable(OWN, [], 5.0)
    ids = [f"12D3KooW{first}{second}{'z' * 42}" for first in "abcdefgh" for second in "abcdefghi"]
    for id_ in ids[:MOST_PEERS]:
        peer = table.learn(id_)
        assert peer
        table.on_exchange(peer, SAID, 0.0)
    assert table.learn(ids[MOST_PEERS]) is None
    away = table.peers[ids[5]]
    table.on_failure(away, "broke off")
    assert table.learn(ids[MOST_PEERS])
    assert not table.knows(away)
    assert len(table.peers) == MOST_PEERS

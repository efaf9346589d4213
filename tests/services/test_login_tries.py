"""Wrong passwords: counted for an account and an address together, so that nobody locks another out."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from app.domain.errors import TooMany
from app.services.people.login_tries import SHARED, LoginTries, network_of, open_login_tries
from app.services.people.rate_limits import parse_limit

NOWHERE = "redis://127.0.0.1:1"
LIMIT = 3


@pytest.fixture
def account() -> str:
    return f"account {uuid4()}"


@pytest.fixture
def tries(servers) -> LoginTries:
    return open_login_tries(servers.redis_url, parse_limit(f"{LIMIT}/hour"))


def address() -> str:
    """One that no other test counts."""
    return f"address {uuid4()}"


def wrong(tries: LoginTries, account: str, address: str, times: int = LIMIT) -> int:
    """How many of so many tries were let in."""
    count = 0
    for _ in range(times):
        try:
            tries.count(account, address)
            count += 1
        except TooMany:
            pass
    return count


def seconds_to_wait(tries: LoginTries, account: str) -> float:
    """Of the first refusal of tries that each come from another address."""
    while True:
        try:
            tries.count(account, address())
        except TooMany as refused:
            return refused.retry_after or 0


def test_tries_are_counted_by_every_process_and_right_ones_are_not(servers, account: str) -> None:
    here = address()
    first, second = (open_login_tries(servers.redis_url, parse_limit(f"{LIMIT}/hour")) for _ in range(2))
    for each in (first, second) * 5:
        each.count(account, here)
        each.succeeded(account, here)
    assert wrong(first, account, here, 2) == 2
    assert wrong(second, account, here, 2) == 1
    with pytest.raises(TooMany, match="wrong passwords") as refused:
        first.count(account, here)
    assert 1 < (refused.value.retry_after or 0) <= 3600


def test_nobody_locks_another_out_with_wrong_passwords(tries: LoginTries, account: str) -> None:
    attacker = address()
    assert wrong(tries, account, attacker, 10) == LIMIT
    assert wrong(tries, account, address(), 1) == 1, "the owner, elsewhere"
    assert wrong(tries, f"account {uuid4()}", attacker, 1) == 1, "somebody else at the attacker's address"


def test_guessing_one_account_from_many_addresses_is_slow_and_its_owner_is_let_in(
    tries: LoginTries, account: str
) -> None:
    home = address()
    tries.count(account, home)
    tries.succeeded(account, home)
    attackers = [address() for _ in range(SHARED)]
    assert sum(wrong(tries, account, each) for each in attackers) == SHARED * LIMIT
    assert sum(wrong(tries, account, address(), 1) for _ in range(20)) <= 2, "one a second"
    assert seconds_to_wait(tries, account) <= 2, "it says to try again soon"
    assert wrong(tries, account, home, 10) == LIMIT, "where the account was signed in to before"


def test_guessing_many_accounts_from_one_address_is_slow(tries: LoginTries) -> None:
    here = address()
    names = [f"account {uuid4()}" for _ in range(SHARED * LIMIT + 20)]
    assert SHARED * LIMIT <= sum(wrong(tries, name, here, 1) for name in names) <= SHARED * LIMIT + 2


@pytest.mark.parametrize("with_redis", [True, False])
def test_many_tries_at_once_are_no_more_than_allowed(servers, account: str, with_redis: bool) -> None:
    here = address()
    tries = open_login_tries(servers.redis_url if with_redis else NOWHERE, parse_limit("5/minute"))
    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(lambda _: wrong(tries, account, here, 1), range(64))) == 5


def test_without_a_limit_nothing_is_counted(account: str) -> None:
    assert wrong(open_login_tries(NOWHERE, None), account, "10.0.0.1", 100) == 100


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_a_whole_ipv6_network_is_one_caller(text: str, network: str) -> None:
    assert network_of(text) == network

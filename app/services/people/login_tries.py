"""Wrong passwords: how many, and from where.

The limit (RATE_LIMIT_LOGINS) is for one account from one address, so that nobody locks another out with wrong
passwords. An account over all addresses, and an address over all accounts, may have several times as many;
beyond that one try a second is let in: guessing is slow, and who knows the password still comes in. An
address from which an account was signed in to lately is not slowed down with the rest.

A try is counted before the password is looked at, so that many at once do not pass together; the right one is
uncounted. Calls block (Redis).
"""

import hashlib
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.strategies import FixedWindowRateLimiter

from app.domain.errors import TooMany
from app.services.people.rate_limits import Windows

SHARED = 5  # times the limit: for an account from all addresses, for an address and all accounts
SLOW = RateLimitItemPerSecond(1)  # beyond that
KNOWN_SECONDS = 30 * 86_400  # an address is known to an account for so long
IPV6_BITS = 64  # one customer's network: whoever has one of its addresses has all of them


def network_of(address: str) -> str:
    """What is counted as one caller: an IPv4 address, an IPv6 network."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(IPv6Address(int(parsed) >> (128 - IPV6_BITS) << (128 - IPV6_BITS))) + f"/{IPV6_BITS}"


@dataclass(frozen=True, slots=True)
class _Count:
    """One of the counts of a try. `slow` ones let in one try a second beyond their limit."""

    name: str
    limit: RateLimitItem
    slow: bool = False


class LoginTries:
    """One for each API process; thread-safe. No limit: nothing is counted."""

    def __init__(self, windows: Windows, limit: RateLimitItem | None) -> None:
        self._windows, self._limit = windows, limit
        self._shared = limit and type(limit)(limit.amount * SHARED, limit.multiples)

    def count(self, account: str, address: str) -> None:
        """One more try for `account` (whatever names it) from `address`. Raises TooMany, with the seconds to
        wait, and counts nothing then."""
        counted: list[_Count] = []
        network = network_of(address)
        for each in self._counts(account, network):
            counted.append(each)
            if self._windows.enter(each.limit, each.name):
                continue
            if each.slow and self._is_let_in(each, _mark_for(account, network)):
                continue
            self._uncount(counted)
            raise self._too_many(each)

    def succeeded(self, account: str, address: str) -> None:
        """The password was right: the try is uncounted, the address is known from now on."""
        network = network_of(address)
        self._uncount(self._counts(account, network))
        if self._limit is not None:
            self._windows.mark(_mark_for(account, network), KNOWN_SECONDS)

    def _counts(self, account: str, network: str) -> list[_Count]:
        if self._limit is None or self._shared is None:
            return []
        return [
            _Count(f"try {account} from {network}", self._limit),
            _Count(f"try {account}", self._shared, slow=True),
            _Count(f"try from {network}", self._shared, slow=True),
        ]

    def _is_let_in(self, count: _Count, known: str) -> bool:
        """Beyond a shared limit."""
        return self._windows.is_marked(known) or self._windows.enter(SLOW, f"slow {count.name}")

    def _uncount(self, counts: list[_Count]) -> None:
        for each in counts:
            self._windows.undo_enter(each.limit, each.name)

    def _too_many(self, count: _Count) -> TooMany:
        limit = SLOW if count.slow else count.limit
        free_at = self._windows.free_at(limit, f"slow {count.name}" if count.slow else count.name)
        seconds = max(1.0, free_at - time.time())
        return TooMany("Too many wrong passwords. Wait before trying again.", retry_after=seconds)


def _mark_for(account: str, network: str) -> str:
    return "known " + hashlib.sha256(f"{account} {network}".encode("utf-8", "replace")).hexdigest()


def open_login_tries(redis_url: str, limit: RateLimitItem | None) -> LoginTries:
    """Windows that begin with a name's first try: there are few tries, and each counts."""
    return LoginTries(Windows(redis_url, FixedWindowRateLimiter), limit)

"""Who is calling."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from sqlalchemy import event, text

from app.domain.errors import Forbidden, Unauthenticated
from app.services.people.access import SCOPES, Access, Principal
from app.services.people.accounts import Accounts
from app.services.people.api_keys import ApiKeys
from app.services.people.login_tries import LoginTries
from app.services.people.rate_limits import Windows
from app.services.people.tokens import TokenSigner


@pytest.fixture
def signer():
    return TokenSigner("s" * 40, 60)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def make_access(database, signer, threads):
    def make(seconds: float = 60.0, **more) -> Access:
        return Access(database, signer, threads, cache_seconds=seconds, allow_anonymous=False, **more)

    return make


@pytest.fixture
def accounts(database, signer, make_access):
    tries = LoginTries(Windows("redis://127.0.0.1:1"), None)
    return Accounts(database, signer, tries, allow_registration=True)


@pytest.fixture
def keys(database, make_access):
    return ApiKeys(database, make_access())


@pytest.fixture
def lookups(database):
    """Statements that read keys, as they happen."""
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_):
        if "FROM api_keys" in statement:
            seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


async def test_many_calls_with_one_key_cost_one_query(make_access, accounts, keys, lookups):
    user = accounts.create("a@example.com", "ada", "correct horse battery")
    key, access = keys.issue(user.id, "k", ["predict"]).secret, make_access()
    found = await asyncio.gather(*(access.principal(f"Bearer {key}") for _ in range(50)))
    assert {one.user_id for one in found} == {user.id}
    assert len(lookups) <= 2
    await access.principal(f"Bearer {key}")
    assert len(lookups) <= 2
    await access.close()


async def test_a_revoked_key_is_refused_at_once_however_long_it_is_trusted(make_access, accounts, database):
    access = make_access()
    keys = ApiKeys(database, access)
    user = accounts.create("a@example.com", "ada", "correct horse battery")
    issued = keys.issue(user.id, "k", list(SCOPES))
    principal = await access.principal(f"Bearer {issued.secret}")
    keys.revoke(principal, issued.key.id)
    with pytest.raises(Unauthenticated):
        await access.principal(f"Bearer {issued.secret}")
    await access.close()


async def test_a_lookup_that_began_before_a_revocation_is_not_remembered(make_access, accounts, keys):
    user = accounts.create("a@example.com", "ada", "correct horse battery")
    issued, access = keys.issue(user.id, "k", ["predict"]), make_access()
    asking = asyncio.create_task(access.principal(f"Bearer {issued.secret}"))
    await asyncio.sleep(0)
    access.forget_key(issued.key.id)
    await asyncio.gather(asking, return_exceptions=True)
    assert access._cache == {}
    await access.close()


async def test_keys_are_revoked_in_threads_while_others_are_looked_up(make_access, monkeypatch):
    async def look_up(_credential: str) -> Principal:
        return Principal(uuid4(), "ada", frozenset())

    def revoke() -> None:
        while not asked.is_set():
            access.forget_key(uuid4())

    access, asked = make_access(), threading.Event()
    monkeypatch.setattr(access, "_look_up", look_up)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    revoking = asyncio.get_running_loop().run_in_executor(None, revoke)
    try:
        for number in range(3_000):
            await access.principal(f"Bearer {number}")
    finally:
        asked.set()
        sys.setswitchinterval(before)
    await revoking  # raised when it went over a dictionary that grew meanwhile


async def test_a_disabled_user_is_refused_by_key_and_token(make_access, accounts, keys, database, signer):
    user = accounts.create("a@example.com", "ada", "correct horse battery")
    key, token = keys.issue(user.id, "k", ["predict"]).secret, signer.issue(user.id, 0)
    with database.unit() as session:
        session.execute(text("UPDATE users SET disabled_at = now()"))
    access = make_access()
    for credential in (key, token):
        with pytest.raises(Unauthenticated):
            await access.principal(f"Bearer {credential}")
    await access.close()


async def test_a_key_of_a_former_administrator_loses_the_admin_scope(make_access, accounts, keys):
    user = accounts.create("a@example.com", "ada", "correct horse battery")
    key, access = keys.issue(user.id, "k", list(SCOPES)).secret, make_access()
    principal = await access.principal(f"Token {key}")
    assert principal.scopes == {"predict", "models"}
    with pytest.raises(Forbidden, match="'admin'"):
        principal.need("admin")
    await access.close()

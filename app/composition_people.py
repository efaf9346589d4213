"""The part of `composition` that is about people: accounts, credentials, limits. Reads `Settings` for it."""

from collections.abc import Callable
from concurrent.futures import Executor

from app.db.session import Database
from app.services.people import rate_limits
from app.services.people.access import Access
from app.services.people.accounts import Accounts
from app.services.people.administration import UserAdministration
from app.services.people.api_keys import ApiKeys
from app.services.people.audit import Audit
from app.services.people.credentials import Credentials
from app.services.people.login_tries import open_login_tries
from app.services.people.people import People
from app.services.people.rate_limits import RateLimits
from app.services.people.sessions import LINK_AUDIENCE, LINK_SECONDS, Sessions
from app.services.people.tokens import TokenSigner
from app.services.people.worker_tokens import GrantSigner
from app.services.predictions.lifecycle import Lifecycle
from app.services.predictions.user_cancels import UserCancels
from app.settings import Settings

DAY_SECONDS = 86_400


def build_people(
    settings: Settings,
    database: Database,
    threads: Executor,
    on_change: Callable[[], None] = lambda: None,
    lifecycle: Lifecycle | None = None,
) -> People:
    """The services about accounts, which share what is known of credentials and of wrong passwords.
    `on_change` is called after what may revoke a right to run something."""
    signer = build_signer(settings)
    access = build_access(settings, database, threads)
    tries = open_login_tries(settings.redis_url, rate_limits.parse_limit(settings.rate_limit_logins))
    accounts = Accounts(database, signer, tries, allow_registration=settings.registration_is_open)
    credentials = Credentials(database, signer, access, tries)
    on_disabled = UserCancels(database, lifecycle).cancel_waiting if lifecycle else None
    administration = UserAdministration(database, accounts, access, on_change, on_disabled)
    keys, audit = ApiKeys(database, access), Audit(database, threads)
    sessions = build_sessions(settings.secret_key, settings.session_days, database)
    grants = GrantSigner(settings.secret_key)
    return People(access, accounts, credentials, administration, keys, audit, sessions, grants)


def build_signer(settings: Settings) -> TokenSigner:
    """Of access tokens."""
    return TokenSigner(settings.secret_key, settings.access_token_minutes * 60)


def build_access(settings: Settings, database: Database, threads: Executor) -> Access:
    """Whose credential it is."""
    return Access(
        database,
        build_signer(settings),
        threads,
        cache_seconds=settings.principal_cache_seconds,
        allow_anonymous=settings.allow_anonymous,
    )


def build_sessions(secret: str, days: float, database: Database) -> Sessions:
    """Sign-in by browser."""
    links = TokenSigner(secret, LINK_SECONDS, LINK_AUDIENCE)
    return Sessions(database, TokenSigner(secret, days * DAY_SECONDS), links)


def build_rate_limits(settings: Settings) -> RateLimits:
    """The limits of calls, by what they count."""
    texts = {
        "creates": settings.rate_limit_creates,
        "calls": settings.rate_limit_calls,
        "key": settings.rate_limit_key,
        "registrations": settings.rate_limit_registrations,
    }
    limits = {name: rate_limits.parse_limit(text) for name, text in texts.items()}
    return RateLimits(rate_limits.Windows(settings.redis_url), limits)

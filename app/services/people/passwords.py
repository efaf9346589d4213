"""Passwords and their hashes: argon2id through passlib, and nothing else (bcrypt 5 breaks passlib). Slow on
purpose."""

import secrets

from passlib.context import CryptContext

from app.domain.errors import wrong_field
from app.domain.storable import text_fault

SHORTEST, LONGEST = 8, 1_024

# OWASP's smallest argon2id profile: 19 MiB, 2 passes, 1 lane; 36 ms here, where passlib's defaults take 170.
_CONTEXT = CryptContext(
    schemes=["argon2"],
    argon2__type="ID",
    argon2__memory_cost=19_456,
    argon2__time_cost=2,
    argon2__parallelism=1,
)
_NOBODY = _CONTEXT.hash("nobody has this password")


def hashed(password: str) -> str:
    """The text to store. Takes some 36 ms of CPU: call it in a thread."""
    return str(_CONTEXT.hash(password))


def matches(password: str, stored: str | None) -> bool:
    """Whether the password is right. Without a stored hash it works as long and says no, so that time tells
    nothing."""
    if not SHORTEST <= len(password) <= LONGEST or text_fault(password):
        password, stored = "wrong", None
    return bool(_CONTEXT.verify(password, stored or _NOBODY)) and bool(stored)


def check_new(password: str, field: str = "password") -> None:
    """Raises InvalidRequest, naming the field, for one that nobody should have."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise wrong_field(field, f"must have {SHORTEST} to {LONGEST} characters", "length")
    if fault := text_fault(password):
        raise wrong_field(field, fault, "format")


def new_password() -> str:
    """A random one for somebody to hand over: 144 bits."""
    return secrets.token_urlsafe(18)

"""Tokens with which a client calls a worker itself (JWT, EdDSA): the API signs them, a worker verifies them
by the public key and asks nobody. The only module that knows PyJWT."""

import hashlib
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM = "EdDSA"
ISSUER = "lovage"
LEEWAY_SECONDS = 5
LIFETIME_SECONDS = 900
REMEMBERED = 1_000  # tokens that were verified: a client sends its own with every call


@dataclass(frozen=True, slots=True)
class WorkerGrant:
    """What a token says: this user may run this version on this worker until then (Unix time). `user_id`
    None: an anonymous caller. `records_later`: calls are answered before they are recorded."""

    worker: str
    user_id: UUID | None
    username: str
    model: str
    version: str
    expires_at: int
    key_id: UUID | None = None
    records_later: bool = False


def _private_key(secret: str) -> Ed25519PrivateKey:
    """The platform's, from SECRET_KEY."""
    seed = hashlib.sha256(b"lovage worker sessions\x00" + secret.encode()).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def public_key(secret: str) -> Ed25519PublicKey:
    """What workers hold."""
    return _private_key(secret).public_key()


class GrantSigner:
    """The API's."""

    def __init__(self, secret: str) -> None:
        self._key = _private_key(secret)

    def issue(self, grant: WorkerGrant) -> str:
        """The token."""
        claims = {
            "iss": ISSUER,
            "aud": grant.worker,
            "sub": str(grant.user_id or ""),
            "name": grant.username,
            "models": {grant.model: grant.version},
            "iat": int(time.time()),
            "exp": grant.expires_at,
            "key": str(grant.key_id or ""),
            "later": grant.records_later,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)


class GrantVerifier:
    """A worker's, for tokens that name it."""

    def __init__(self, key: Ed25519PublicKey, worker: str) -> None:
        self._key, self._worker = key, worker
        self._verified: dict[str, WorkerGrant] = {}

    def verify(self, text: str) -> WorkerGrant | None:
        """What a token says. None for what is no such token at all. Raises ValueError: what is wrong."""
        known = self._verified.get(text)
        if known and known.expires_at > time.time():
            return known
        grant = self._verify(text)
        if grant:
            if len(self._verified) >= REMEMBERED:
                self._verified.clear()
            self._verified[text] = grant
        return grant

    def _verify(self, text: str) -> WorkerGrant | None:
        try:
            if jwt.get_unverified_header(text).get("alg") != ALGORITHM:
                return None
        except jwt.PyJWTError:
            return None
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=[ALGORITHM],
                audience=self._worker,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "sub", "models"]},
            )
            return self._read(claims)
        except jwt.ExpiredSignatureError:
            raise ValueError("it has expired") from None
        except jwt.InvalidAudienceError:
            raise ValueError("it is for another worker") from None
        except (jwt.PyJWTError, KeyError, TypeError, AttributeError):
            raise ValueError("nobody here has signed it") from None

    def _read(self, claims: dict[str, Any]) -> WorkerGrant:
        ((model, version),) = claims["models"].items()
        return WorkerGrant(
            self._worker,
            UUID(claims["sub"]) if claims["sub"] else None,
            str(claims["name"]),
            model,
            version,
            int(claims["exp"]),
            UUID(claims["key"]) if claims["key"] else None,
            bool(claims.get("later")),
        )

"""Access tokens (JWT, HS256): the only module that knows python-jose, so that another library can take its
place."""

import time
from dataclasses import dataclass
from uuid import UUID

from jose import JWTError, jwt

ALGORITHM = "HS256"
AUDIENCE = "lovage"
LEEWAY_SECONDS = 30  # clocks of two API hosts differ a little


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """Whose token it is, and the user's epoch when it was issued: in another epoch it is not valid."""

    user_id: UUID
    epoch: int


class TokenSigner:
    """Makes and verifies tokens with the server's secret."""

    def __init__(self, secret: str, lifetime_seconds: float, audience: str = AUDIENCE) -> None:
        """`audience`: what the tokens are for; a signer takes no token of another one."""
        self._secret, self.lifetime_seconds = secret, lifetime_seconds
        self._audience = audience

    def issue(self, user_id: UUID, epoch: int) -> str:
        """A token for this user, valid from now on."""
        now = int(time.time())
        claims = {
            "sub": str(user_id),
            "aud": self._audience,
            "epoch": epoch,
            "iat": now,
            "exp": now + int(self.lifetime_seconds),
        }
        return str(jwt.encode(claims, self._secret, algorithm=ALGORITHM))

    def verify(self, text: str) -> TokenClaims | None:
        """What it says, or None when it is not ours, expired, or anything else is wrong with it."""
        required = {"require_exp": True, "require_sub": True, "require_aud": True, "leeway": LEEWAY_SECONDS}
        try:
            claims = jwt.decode(
                text, self._secret, algorithms=[ALGORITHM], audience=self._audience, options=required
            )
            # A token of a release that knew no epochs was issued in the first.
            return TokenClaims(UUID(claims["sub"]), int(claims.get("epoch", 0)))
        except (JWTError, ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

"""A browser's session: a token that lives for days, and the one-time link that gives one. Knows no HTTP.

Calls block (SQL): use threads. A link is signed and needs no row of its own until it is used; then it is
written down beside the idempotency keys, which live longer than any link.
"""

import hashlib
from uuid import UUID

from app.db import users
from app.db.session import Database
from app.domain.errors import NotFound, Unauthenticated
from app.services import idempotency
from app.services.idempotency import CreatedBefore, IdempotentRequest
from app.services.people.tokens import TokenSigner

LINK_AUDIENCE = "lovage sign-in link"
LINK_SECONDS = 3_600
USED = "This link was used already, or it is older than an hour. `lovage link` prints a new one."


class Sessions:
    """`signer` makes the tokens that the API takes, for `seconds`; `links` those of links."""

    def __init__(self, database: Database, signer: TokenSigner, links: TokenSigner) -> None:
        self._database = database
        self._signer, self._links = signer, links

    @property
    def seconds(self) -> int:
        """How long a session lasts."""
        return int(self._signer.lifetime_seconds)

    def issue(self, user_id: UUID) -> str:
        """A session's token. Raises Unauthenticated for an account that is no more."""
        with self._database.unit() as session:
            user = users.by_id(session, user_id)
        if user is None:
            raise Unauthenticated("This account no longer exists.")
        return self._signer.issue(user.id, user.token_epoch)

    def issue_link(self, username: str) -> str:
        """What stands in a link that signs this user in, once, within LINK_SECONDS. Raises NotFound."""
        with self._database.unit() as session:
            user = users.by_username(session, username)
        if user is None:
            raise NotFound(f"There is no user {username}.")
        return self._links.issue(user.id, user.token_epoch)

    def redeem(self, link: str) -> str:
        """A session's token for a link that nobody has used. Raises Unauthenticated."""
        claims = self._links.verify(link)
        if claims is None:
            raise Unauthenticated(USED)
        use = IdempotentRequest("sessions.link", hashlib.sha256(link.encode()).hexdigest(), [])
        try:
            with self._database.unit() as session:
                user = users.by_id(session, claims.user_id)
                if user is None or user.token_epoch != claims.epoch:
                    raise Unauthenticated(USED)
                idempotency.record(session, user.id, use, str(user.id))
        except CreatedBefore:
            raise Unauthenticated(USED) from None
        return self._signer.issue(user.id, user.token_epoch)

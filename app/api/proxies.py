"""Whether a proxy in front of us is one that TRUSTED_PROXIES names.

uvicorn takes the caller's address out of X-Forwarded-For when the peer is a trusted proxy; from anybody else
the header proves nothing. Behind a proxy that nobody has named all callers have its one address, and share
what is counted by address: that is said once, in the log.
"""

import structlog

log = structlog.get_logger(__name__)


class ProxyCheck:
    """One for each API process."""

    def __init__(self) -> None:
        self._warned = False

    def look(self, address: str, forwarded_for: str) -> bool:
        """Whether the caller's address is not one that the header names: its peer is no trusted proxy. Warns
        at the first such call."""
        if self._warned or address in {_host(part) for part in forwarded_for.split(",")}:
            return False
        self._warned = True
        log.warning(
            "proxy_not_trusted",
            peer=address,
            forwarded_for=forwarded_for[:200],
            meaning=(
                "X-Forwarded-For of this peer is not believed, so all callers behind it are counted as one."
                " If it is your proxy, name it in TRUSTED_PROXIES."
            ),
        )
        return True


def _host(part: str) -> str:
    """An address of the header, which may have a port."""
    text = part.strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text

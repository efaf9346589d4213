"""Request headers with a grammar of their own: Prefer, Cancel-After, Idempotency-Key, Range. Pure
functions."""

import re

from app.domain.errors import InvalidRequest, wrong_field

WAIT = re.compile(r"(?:\A|[,;\s])wait(?:\s*=\s*\"?(\d{1,6})\"?)?(?=\Z|[,;\s])", re.IGNORECASE)
STRICT = re.compile(r"(?:\A|[,;\s])handling\s*=\s*\"?strict\"?(?=\Z|[,;\s])", re.IGNORECASE)
LONGEST_WAIT = 60
DURATION = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?\Z")
LONGEST_DURATION = 86_400
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]*)")
LINKS = "links"  # of a request's scope: the pages beside the one that is answered, for the header `Link`
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


def is_utf8_form(content_type: str) -> bool:
    """Whether a form's texts are sent in UTF-8; another charset, or one that nobody knows, cannot be read."""
    charset = CHARSET.search(content_type.lower())
    return charset is None or charset[1] in ("utf-8", "utf8")


def wrong_header(name: str, sentence: str) -> InvalidRequest:
    """One wrong header, named."""
    return wrong_field(name, sentence, "format")


def wait_seconds(prefer: str | None) -> int | None:
    """Seconds of `Prefer: wait` or `wait=N`, at most 60; None without. An unknown preference is ignored (RFC
    7240)."""
    match = WAIT.search(prefer) if prefer else None
    if match is None:
        return None
    return min(int(match[1]), LONGEST_WAIT) or None if match[1] else LONGEST_WAIT


def is_strict(prefer: str | None) -> bool:
    """Whether `Prefer` has `handling=strict` (RFC 7240)."""
    return bool(prefer and STRICT.search(prefer))


def duration(text: str | None, name: str = "Cancel-After") -> float | None:
    """Seconds of `5s`, `1m`, `1h30m`, or of a plain number of seconds. Raises InvalidRequest naming the
    header."""
    if text is None:
        return None
    text = text.strip()
    match = DURATION.match(text + "s" if text.isdecimal() else text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if not 1 <= total <= LONGEST_DURATION:
        raise wrong_header(name, "must be a duration such as 5s, 1m or 1h30m, from 1s to 24h")
    return float(total)


def idempotency_key(text: str | None) -> str | None:
    """The key, if it is one. Raises InvalidRequest naming the header."""
    if text is not None and not IDEMPOTENCY_KEY.match(text):
        raise wrong_header("Idempotency-Key", "must be 1 to 255 printable ASCII characters without spaces")
    return text


def byte_range(text: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a `Range` with one satisfiable range; None sends the whole file, as HTTP
    allows."""
    match = RANGE.match(text) if text else None
    if match is None or size == 0 or match[1] == match[2] == "":
        return None
    if match[1] == "":
        return (max(0, size - int(match[2])), size - 1) if int(match[2]) else None
    first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    return (first, last) if first <= last else None

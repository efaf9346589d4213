"""What kinds of text a setting may be: lists, limits, networks, URLs. Pure, and knows no setting."""

import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic.fields import FieldInfo

RATE_LIMIT = re.compile(r"[1-9]\d{0,8} ?/ ?([1-9]\d{0,4} ?)?(second|minute|hour|day)s?")

ANY_NAME = "*"  # of GRPC_TLS_USERS: a certificate's name is the user's
MODEL_NAME = r"[a-z0-9._-]{1,64}/[a-z0-9._-]{1,64}"
OFF = "off"  # an empty variable means its default, so that no limit needs a word


def listed(text: str) -> list[str]:
    """The parts of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def folders(text: str) -> list[Path]:
    """The folders of a colon-separated list."""
    return [Path(part).resolve() for part in text.split(":") if part]


def list_of(pattern: str, what: str) -> AfterValidator:
    """Of a setting that is a comma-separated list of what the pattern takes; `what` they are, in words."""

    def check(value: str) -> str:
        for part in listed(value):
            if not re.fullmatch(pattern, part):
                raise ValueError(f"must be {what} with commas between; {part[:100]!r} is not so")
        return value

    return AfterValidator(check)


def _rate_limit(value: str) -> str:
    text = value.strip()
    if text.lower() == OFF:
        return ""
    if text and not RATE_LIMIT.fullmatch(text):
        raise ValueError(f"must be like 600/minute (second, minute, hour or day), or {OFF}")
    return text


def _networks(value: str) -> str:
    for part in listed(value):
        ip_network(part, strict=False)  # no `*`: then anybody could name any address
    return value


def _seconds(value: str) -> str:
    if not re.fullmatch(r"\d{1,7}(\.\d+)?(,\d{1,7}(\.\d+)?)*", value.replace(" ", "")):
        raise ValueError("must be seconds with commas between, e.g. 5,30,300")
    return value.replace(" ", "")


def _token(value: str) -> str:
    if value and not re.fullmatch(r"[\x21-\x7e]{16,}", value):
        raise ValueError(
            "must be at least 16 printable characters without spaces; make one with: openssl rand -hex 16"
        )
    return value


def aliases(text: str) -> dict[str, str]:
    """The models by their aliases, of a list such as `gpt-4o=ada/chat,small=demo/minilm`."""
    pairs = (part.partition("=") for part in listed(text))
    return {alias.strip(): model.strip() for alias, _, model in pairs}


def _aliases(value: str) -> str:
    for alias, model in aliases(value).items():
        if not alias or not re.fullmatch(MODEL_NAME, model):
            raise ValueError(f"must be alias=owner/name with commas between; {alias[:50]!r} is not so")
    return value


def _certificate_users(value: str) -> str:
    if value.strip() == ANY_NAME:
        return ANY_NAME
    for name, username in aliases(value).items():
        if not name or not re.fullmatch(r"[a-z0-9._-]{1,64}", username):
            raise ValueError(
                f"must be {ANY_NAME}, or name=username with commas between; {name[:50]!r} is not so"
            )
    return value


@dataclass(frozen=True, slots=True)
class SecretMark:
    """Of a setting that nobody is shown, and that may stand in a file (`NAME_FILE`). `in_url`: only the
    password of a URL is secret."""

    in_url: bool = False


@dataclass(frozen=True, slots=True)
class ShownSetting:
    """A setting as people see it; `value` of a secret one says only whether it is set. `origin`: `default`,
    `environment`, `.env`, or the file that holds it; with the variable's name where that is another one."""

    name: str
    value: str
    origin: str
    description: str


def secret_mark(setting: FieldInfo) -> SecretMark | None:
    """None: it is no secret."""
    return next((mark for mark in setting.metadata if isinstance(mark, SecretMark)), None)


def mask(text: str, mark: SecretMark | None) -> str:
    """A value as it may be shown."""
    if mark is None or not text:
        return text
    return re.sub(r"(://[^/@]*?:)[^/]*@", r"\1…@", text) if mark.in_url else "(set)"


Secret = Annotated[str, SecretMark()]
SecretUrl = Annotated[str, SecretMark(in_url=True)]
Lower = BeforeValidator(lambda value: value.strip().lower() if isinstance(value, str) else value)
Url = Annotated[str, AfterValidator(lambda value: value.rstrip("/"))]
RateLimit = Annotated[str, AfterValidator(_rate_limit)]
Networks = Annotated[str, AfterValidator(_networks)]
ModelNames = Annotated[str, list_of(MODEL_NAME, "owner/name")]
Aliases = Annotated[str, AfterValidator(_aliases)]
CertificateUsers = Annotated[str, AfterValidator(_certificate_users)]
SecondsList = Annotated[str, AfterValidator(_seconds)]
Token = Annotated[str, AfterValidator(_token), SecretMark()]

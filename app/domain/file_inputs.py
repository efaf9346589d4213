"""Which inputs of a version are files, and which URLs name a file that was uploaded here. Pure.

When a prediction is made, it is checked that such a file is its caller's; the worker then reads it for
whoever made the prediction. The check of addresses stands between the two. All three must parse a URL
identically, so all three use this.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

OWN_FILE = re.compile(r"/v1/files/(?P<id>[0-9a-z]{26})\Z")
NO_BASE64 = "is not valid base64"
DATA_HEAD = re.compile(r'data:(?P<head>(?:[^,"]|"[^"]{0,1000}"){0,1000}),', re.I)
PART = re.compile(r';((?:[^;"]|"[^"]*")*)')
FROM_URL_ALPHABET = str.maketrans("-_", "+/")
# Percent-escapes of a data URI: each costs 0.2 µs to decode, a whole body of them seconds.
MOST_ESCAPES = 100_000
LONGEST_OWN = 2_048  # characters: no URL of ours is near that, and splitting megabytes would hold others up


def takes_files(field: Mapping[str, Any]) -> bool:
    """Whether an input of this schema is a file (`format: uri`) or a list of files."""
    return field.get("format") == "uri" or field.get("items", {}).get("format") == "uri"


def names_files(file_inputs: Sequence[str], values: Mapping[str, Any]) -> bool:
    """Whether a prediction has files that must be where it runs. `file_inputs`: those that may name any."""
    return any(values.get(name) for name in file_inputs)


def is_data(url: str) -> bool:
    """Whether a URL is its own content."""
    return url[:5].lower() == "data:"


@dataclass(frozen=True, slots=True)
class DataUri:
    """A URL that is its own content (RFC 2397). `data` is text to be unquoted, or base64 as a strict
    decoder takes it."""

    media_type: str
    is_base64: bool
    data: str

    def content(self) -> bytes:
        """Raises ValueError with the end of a sentence."""
        if not self.is_base64:
            return unquote_to_bytes(self.data)
        try:
            return base64.b64decode(self.data, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(NO_BASE64) from None


def parse_data(url: str) -> DataUri:
    """Takes base64 as browsers do: escaped, with white space, without padding; and in the alphabet for URLs.
    Raises ValueError with the end of a sentence."""
    match = DATA_HEAD.match(url)
    if match is None:
        raise ValueError("is not a valid data URI")
    kind, *parameters = (part.strip() for part in PART.findall(";" + match["head"]))
    is_base64 = bool(parameters) and parameters[-1].lower() == "base64"
    data = url[match.end() :]
    if data.count("%") > MOST_ESCAPES:
        raise ValueError(f"is a data URI with more than {MOST_ESCAPES:,} percent-escapes: send plain base64")
    if is_base64:
        data = _strict_base64(data)
    return DataUri(kind.lower(), is_base64, data)


def _strict_base64(data: str) -> str:
    if "%" in data:
        data = unquote(data)
    for space in " \n\r\t\f":
        data = data.replace(space, "")
    if "-" in data or "_" in data:
        data = data.translate(FROM_URL_ALPHABET)
    if len(data) % 4 == 1:
        raise ValueError(NO_BASE64)
    return data + "=" * (-len(data) % 4)


def own_file(url: str) -> str | None:
    """The id of the uploaded file that a URL names, whatever its host; None for any other. Raises ValueError
    for no URL."""
    if len(url) > LONGEST_OWN or is_data(url):
        return None
    match = OWN_FILE.search(urlsplit(url).path)
    return match["id"] if match else None

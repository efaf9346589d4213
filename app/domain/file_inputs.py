"""Which inputs of a version are files, and which URLs name a file that was uploaded here. Pure.

When a prediction is made, it is checked that such a file is its caller's; the worker then reads it for
whoever made the prediction. The check of addresses stands between the two. All three must parse a URL
identically, so all three use this.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

OWN_FILE = re.compile(r"/v1/files/(?P<id>[0-9a-z]{26})\Z")
# Percent-escapes of a data URI that is not base64: each costs 0.2 µs to decode, a whole body of them seconds.
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


def data_fault(url: str) -> str | None:
    """What is wrong with the form of a data URI, as the end of a sentence; None when nothing is."""
    head, comma, data = url.partition(",")
    if not comma:
        return "is not a valid data URI"
    if not head.lower().endswith(";base64") and data.count("%") > MOST_ESCAPES:
        return f"is a data URI with more than {MOST_ESCAPES:,} percent-escapes: send it as base64"
    return None


def own_file(url: str) -> str | None:
    """The id of the uploaded file that a URL names, whatever its host; None for any other. Raises ValueError
    for no URL."""
    if len(url) > LONGEST_OWN or is_data(url):
        return None
    match = OWN_FILE.search(urlsplit(url).path)
    return match["id"] if match else None

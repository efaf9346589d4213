"""Whether a URL can be the file that a model wants, by its text alone: refused at once instead of failing in
a worker.

Fetches nothing. What only the bytes at an address can show is left to the worker.
"""

import base64
import binascii

from app.domain import pictures
from app.domain.file_inputs import NO_BASE64, is_data, own_file, parse_data
from app.domain.pictures import Read
from app.outbound.addresses import AddressPolicy
from app.outbound.guard import check_url

PICTURES = "image/*"


def fault_of(url: str, media_type: str, policy: AddressPolicy) -> str | None:
    """What is wrong with an http, https or data URL, as the end of a sentence; None when nothing is."""
    try:
        if is_data(url):
            return _fault_of_data(url, media_type)
        if not own_file(url):  # that one a worker reads from the storage, whatever its host
            check_url(url, policy)
    except ValueError as error:
        return str(error)
    return None


def _fault_of_data(url: str, media_type: str) -> str | None:
    uri = parse_data(url)
    if media_type != PICTURES:
        return None
    if uri.is_base64:
        size = len(uri.data) // 4 * 3 - uri.data.count("=", -2)
        return pictures.fault_of(_reader(uri.data), size)
    content = uri.content()
    return pictures.fault_of(lambda offset, length: content[offset : offset + length], len(content))


def _reader(data: str) -> Read:
    """Reads here and there in base64 without decoding the rest: ten million characters would hold the event
    loop up."""

    def read(offset: int, length: int) -> bytes:
        first, skipped = offset // 3 * 4, offset % 3
        last = (offset + length + 2) // 3 * 4
        try:
            return base64.b64decode(data[first:last], validate=True)[skipped : skipped + length]
        except (binascii.Error, ValueError):
            raise ValueError(NO_BASE64) from None

    return read

"""A channel to a worker: whom it trusts, and how its errors read. Needs grpcio."""

import hashlib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from lovage.errors import LovageError, Refused, Unreachable, WrongCertificate
from lovage.values import SessionInfo, Tls

HANDSHAKE_SECONDS = 10.0
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
BROKEN = ("unavailable", "data_loss")


def credentials_of(info: SessionInfo, tls: Tls) -> grpc.ChannelCredentials | None:
    """None: plaintext, which is what the platform says that the worker speaks. Raises LovageError."""
    if info.tls == "none":
        return None
    return grpc.ssl_channel_credentials(
        trusted_roots(info, tls), _read(tls.key) or None, _read(tls.certificate) or None
    )


def trusted_roots(info: SessionInfo, tls: Tls) -> bytes | None:
    """The platform names the worker's certificate: that one alone is then trusted. Where it names none, the
    authority's word counts. Raises WrongCertificate, Unreachable."""
    if not info.certificate_sha256:
        return _read(tls.ca) or None
    host, _, port = info.address.rpartition(":")
    try:
        shown = ssl.get_server_certificate((host.strip("[]"), int(port)), timeout=HANDSHAKE_SECONDS)
    except (OSError, ValueError) as error:
        raise Unreachable(f"{info.address}: {error}", code="unavailable") from None
    if hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown)).hexdigest() != info.certificate_sha256:
        raise WrongCertificate(
            f"{info.address} shows another certificate than the platform named. Ask for another session; if"
            " it stays so, somebody is in between.",
            code="wrong_certificate",
        )
    return shown.encode()


def metadata_of(info: SessionInfo) -> tuple[tuple[str, str], ...]:
    """None without a token: a certificate may stand for a user."""
    return (("authorization", f"Bearer {info.token}"),) if info.token else ()


@contextmanager
def readable_errors() -> Iterator[None]:
    """gRPC's errors as LovageError."""
    try:
        yield
    except grpc.RpcError as error:
        raise as_error(error) from None


def as_error(error: Any) -> LovageError:
    """Of a call that failed."""
    code = error.code().name.lower()
    kind = Unreachable if code in BROKEN else Refused
    return kind(error.details() or code, code=code, retry_after=_seconds(error))


def _seconds(error: Any) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == "retry-after":
            return float(value)
    return None


def _read(path: str | None) -> bytes:
    try:
        return Path(path).read_bytes() if path else b""
    except OSError as error:
        raise LovageError(f"{path} cannot be read: {error.strerror}", code="unreadable_file") from None

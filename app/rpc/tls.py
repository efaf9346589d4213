"""TLS of a worker's gRPC: certificates from files that are read again when they change, and what a client's
certificate says of who calls. Knows no user."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.domain.errors import Unavailable
from app.rpc.errors import Context

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0  # at most so often are the files looked at, however many clients connect
ANY_NAME = "*"
NAMES = ("x509_subject_alternative_name", "x509_common_name")  # in the words of gRPC's auth context
COMMON_NAME = NAMES[1]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM. With `client_ca` only clients with a certificate of its authorities can connect."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Another one when a file has changed. Raises OSError."""
        files = [file for file in (self.certificate, self.key, self.client_ca) if file]
        return tuple((facts.st_mtime_ns, facts.st_ino) for facts in (file.stat() for file in files))

    def read(self) -> grpc.ServerCertificateConfiguration:
        """What they hold, if it fits together. Raises OSError, ValueError."""
        certificate, key = self.certificate.read_bytes(), self.key.read_bytes()
        _check_pair(self.certificate, certificate, self.key, key)
        authorities = None
        if self.client_ca:
            authorities = self.client_ca.read_bytes()
            _certificates(self.client_ca, authorities)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], authorities)


class ShownCertificate:
    """The SHA-256, in hex, of the certificate that new connections are shown."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._stamp: tuple[tuple[int, int], ...] = ()
        self._sha256 = ""

    def sha256(self) -> str:
        """Of the files' newest content that was good, as ReloadedCertificates has it; "" before there was
        any."""
        try:
            stamp = self._files.stamp()
            if stamp != self._stamp:
                self._files.read()
                own = _certificates(self._files.certificate, self._files.certificate.read_bytes())[0]
                self._sha256, self._stamp = own.fingerprint(hashes.SHA256()).hex(), stamp
        except (OSError, ValueError):  # ReloadedCertificates logs it
            pass
        return self._sha256


def _check_pair(certificate_file: Path, certificate: bytes, key_file: Path, key: bytes) -> None:
    own = _certificates(certificate_file, certificate)[0]
    try:
        public = load_pem_private_key(key, None).public_key()
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key_file} is no private key without a password in PEM: {error}") from None
    if public != own.public_key():
        raise ValueError(f"{key_file} is not the key of {certificate_file}")
    if own.not_valid_after_utc < datetime.now(UTC):
        raise ValueError(f"{certificate_file} has expired at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")


def _certificates(file: Path, text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise ValueError(f"{file} holds no certificate in PEM: {error}") from None


class ReloadedCertificates:
    """The files' newest content that was good, for each new connection; those that are open stay as they
    are. gRPC's threads call it."""

    def __init__(self, files: TlsFiles) -> None:
        self._files, self._lock = files, threading.Lock()
        self._looked_at = float("-inf")
        self._stamp: tuple[tuple[int, int], ...] = ()

    def credentials(self) -> grpc.ServerCredentials:
        """Of the server. Raises Unavailable, which says what is wrong with the files."""
        try:
            self._stamp = self._files.stamp()
            first = self._files.read()
        except (OSError, ValueError) as error:
            raise Unavailable(f"GRPC_TLS_…_FILE cannot be used: {error}") from None
        return grpc.dynamic_ssl_server_credentials(
            first, self.read_changed, require_client_authentication=self._files.client_ca is not None
        )

    def read_changed(self) -> grpc.ServerCertificateConfiguration | None:
        """None: what is used goes on, because nothing has changed, or because what is there now is not
        good, such as a certificate whose key is not written yet."""
        with self._lock:
            if time.monotonic() - self._looked_at < LOOK_SECONDS:
                return None
            self._looked_at = time.monotonic()
            try:
                stamp = self._files.stamp()
                if stamp == self._stamp:
                    return None
                fresh = self._files.read()
            except (OSError, ValueError) as error:
                log.error("rpc_certificates_not_reloaded", reason=str(error))
                return None
            self._stamp = stamp
            log.info("rpc_certificates_reloaded", certificate=str(self._files.certificate))
            return fresh


@dataclass(frozen=True, slots=True)
class CertificateUsers:
    """Usernames by the names of client certificates (GRPC_TLS_USERS)."""

    by_name: Mapping[str, str]

    def username(self, context: Context) -> str | None:
        """Who calls, by the certificate of the connection; None where that says nobody."""
        if not self.by_name:
            return None
        if ANY_NAME in self.by_name:
            return next(_names(context, (COMMON_NAME,)), None)
        return next((self.by_name[name] for name in _names(context, NAMES) if name in self.by_name), None)

    @staticmethod
    def name(context: Context) -> str:
        """The certificate's own, for a sentence; "" without a certificate."""
        return next(_names(context, (COMMON_NAME, *NAMES)), "")


def _names(context: Context, kinds: tuple[str, ...]) -> Iterator[str]:
    facts = context.auth_context()
    for kind in kinds:
        yield from (name.decode("utf-8", "replace") for name in facts.get(kind, ()))

"""Certificates for a test set-up: an authority of one's own, one for the server, and one for each client.
What is there already is kept. Knows no setting and no command."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from app.local.errors import LocalError
from app.local.secret_file import write_private

AUTHORITY_DAYS, DAYS = 3_650, 365
EARLIER = timedelta(hours=1)  # for machines whose clock is behind
OWN_HOSTS = ("localhost", "127.0.0.1", "::1")
LONGEST_COMMON_NAME = 64  # of X.509


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """A certificate and its private key, PEM. `is_new`: made by this call."""

    certificate: Path
    key: Path
    is_new: bool = False


class CertificateFolder:
    """One folder: `ca.pem`, `ca.key`, and a pair for each name. Keys have mode 0600."""

    def __init__(self, folder: Path) -> None:
        """Makes the authority, or takes the one that is there. Raises LocalError."""
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.authority = self._make_authority()
            self._issuer = x509.load_pem_x509_certificate(self.authority.certificate.read_bytes())
            self._key = _load_key(self.authority.key)
            extension = self._issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
            self._authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(extension.value)
        except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as error:
            raise LocalError(f"{folder}: the authority's files cannot be used: {error}") from error

    def make_server(self, hosts: Sequence[str]) -> CertificateFiles:
        """For localhost and these names and addresses. Raises LocalError."""
        names = list(dict.fromkeys((*hosts, *OWN_HOSTS)))
        alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
        return self._make("server", names[0], alternatives, ExtendedKeyUsageOID.SERVER_AUTH)

    def make_client(self, name: str) -> CertificateFiles:
        """Whose common name is `name`. Raises LocalError."""
        if not name or len(name) > LONGEST_COMMON_NAME or set(name) & set("/\\\0") or name.startswith("."):
            raise LocalError(f"{name[:100]!r} cannot be a client's name: 1 to 64 characters, no slash")
        alternatives = x509.SubjectAlternativeName([_general_name(name)])
        return self._make(f"client-{name}", name, alternatives, ExtendedKeyUsageOID.CLIENT_AUTH)

    def _make_authority(self) -> CertificateFiles:
        files = self._files("ca")
        if self._is_there(files):
            return files
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("Lovage test authority")
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = (
            _begin(name, key.public_key(), AUTHORITY_DAYS)
            .issuer_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        return _write(files, certificate, key)

    def _make(
        self, file_name: str, name: str, alternatives: x509.SubjectAlternativeName, use: x509.ObjectIdentifier
    ) -> CertificateFiles:
        files = self._files(file_name)
        if self._is_there(files):
            return files
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _begin(_name(name), key.public_key(), DAYS)
            .issuer_name(self._issuer.subject)
            .add_extension(alternatives, critical=False)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(self._authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _write(files, certificate, key)

    def _files(self, name: str) -> CertificateFiles:
        return CertificateFiles(self._folder / f"{name}.pem", self._folder / f"{name}.key")

    @staticmethod
    def _is_there(files: CertificateFiles) -> bool:
        """Raises LocalError for one of the two without the other."""
        there = [file for file in (files.certificate, files.key) if file.exists()]
        if len(there) == 1:
            (missing,) = {files.certificate, files.key} - set(there)
            raise LocalError(f"{there[0]} is there and {missing} is not: put it back, or remove the first")
        return bool(there)


def _begin(name: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:LONGEST_COMMON_NAME])])


def _general_name(text: str) -> x509.GeneralName:
    """Raises LocalError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError:
        raise LocalError(f"{text[:100]!r} is no name of a host: write it in ASCII") from None


def _load_key(file: Path) -> CertificateIssuerPrivateKeyTypes:
    return load_pem_private_key(file.read_bytes(), None)  # type: ignore[return-value]


def _write(
    files: CertificateFiles, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> CertificateFiles:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        write_private(files.key, private.decode())
        files.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    except OSError as error:
        raise LocalError(f"{files.certificate} cannot be written: {error.strerror}") from error
    return CertificateFiles(files.certificate, files.key, is_new=True)

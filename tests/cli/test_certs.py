"""`lovage certs init`: an authority, a server's certificate, clients' certificates, and what to set."""

import re
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from pydantic import ValidationError
from typer.testing import CliRunner

from app import cli
from app.settings import Settings


def init(*arguments: str) -> str:
    result = CliRunner().invoke(cli.app, ["certs", "init", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def read(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_the_certificates_are_signed_by_the_authority_and_the_settings_are_printed(tmp_path: Path) -> None:
    output = init(str(tmp_path), "--host", "w1.example.org", "--client", "ada")
    store = PolicyBuilder().store(Store([read(tmp_path / "ca.pem")]))
    server = store.build_server_verifier(x509.DNSName("w1.example.org"))
    server.verify(read(tmp_path / "server.pem"), [])
    client = store.build_client_verifier().verify(read(tmp_path / "client-ada.pem"), [])
    assert client.subjects == [x509.DNSName("ada")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*.key")} == {0o600}
    values = {name.lower(): value for name, value in re.findall(r"^(GRPC_\w+)=(.+)$", output, re.M)}
    settings = Settings(lovage_env="development", **values)
    assert settings.grpc_tls_client_ca_file == tmp_path / "ca.pem"
    assert settings.certificate_users == {"*": "*"}


def test_a_second_call_keeps_what_is_there_and_adds_clients(tmp_path: Path) -> None:
    init(str(tmp_path), "--client", "ada")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    init(str(tmp_path), "--client", "ada", "--client", "bob")
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert after.keys() - before.keys() == {"client-bob.pem", "client-bob.key"}
    assert {name: after[name] for name in before} == before


def test_half_a_pair_and_a_name_that_is_a_path_are_refused_in_a_sentence(tmp_path: Path) -> None:
    init(str(tmp_path))
    (tmp_path / "server.key").unlink()
    for arguments, words in (
        ([str(tmp_path)], "server.key is not: put it back, or remove the first"),
        ([str(tmp_path / "new"), "--client", "../ada"], "cannot be a client's name"),
    ):
        result = CliRunner().invoke(cli.app, ["certs", "init", *arguments])
        assert (result.exit_code, words in result.output) == (2, True), result.output


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"grpc_tls_cert_file": "a"}, "GRPC_TLS_KEY_FILE belong together"),
        ({"grpc_tls_client_ca_file": "a"}, "GRPC_TLS_CLIENT_CA_FILE needs GRPC_TLS_CERT_FILE"),
        ({"grpc_tls_users": "*"}, "GRPC_TLS_USERS needs GRPC_TLS_CLIENT_CA_FILE"),
        ({"grpc_tls_users": "robot"}, "must be *, or name=username"),
    ],
)
def test_settings_of_tls_that_lack_something_are_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(lovage_env="development", **values)
    assert words in str(refused.value)

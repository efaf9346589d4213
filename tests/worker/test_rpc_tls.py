"""TLS and mutual TLS of a worker's gRPC: who is refused, whom a certificate stands for, files that change."""

from typing import Any

import grpc
import pytest
from rpc_client import Client, echo_request, refusal, texts_of

from app.cli.tls_check import TlsClient, find_fault
from app.db import predictions as table
from app.db.tables import UserRow
from app.domain.errors import Unavailable
from app.local.certificates import CertificateFiles, CertificateFolder
from app.rpc import tls
from app.rpc.stubs import inference_pb2 as messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    made = CertificateFolder(tmp_path_factory.mktemp("certificates"))
    made.make_server(["w1.example.org"])
    return made


def tls_settings(folder: CertificateFolder, **values: Any) -> dict[str, Any]:
    server = folder.make_server([])
    return {"grpc_tls_cert_file": server.certificate, "grpc_tls_key_file": server.key, **values}


def credentials(authority: CertificateFolder, client: CertificateFiles | None = None) -> Any:
    root = authority.authority.certificate.read_bytes()
    key, certificate = (client.key, client.certificate) if client else (None, None)
    return grpc.ssl_channel_credentials(
        root, key and key.read_bytes(), certificate and certificate.read_bytes()
    )


def test_with_a_certificate_plaintext_is_refused_and_so_is_who_cannot_check_it(
    serve, folder, tmp_path
) -> None:
    port = serve(**tls_settings(folder)).port
    assert texts_of(Client(port, credentials(folder)).call("ModelInfer", echo_request("tls"))) == ["tls"]
    stranger = credentials(CertificateFolder(tmp_path))
    for refused in (Client(port), Client(port, stranger)):
        error = refusal(lambda refused=refused: refused.call("ModelInfer", echo_request()))
        assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_with_mutual_tls_a_certificate_is_needed_and_may_stand_for_a_user(
    serve, folder, parts, tmp_path
) -> None:
    authority = folder.authority.certificate
    port = serve(
        **tls_settings(folder, grpc_tls_client_ca_file=authority, grpc_tls_users="robot=ada,ghost=eve")
    ).port
    strangers = CertificateFolder(tmp_path)
    for refused in (None, strangers.make_client("robot")):
        error = refusal(
            lambda own=refused: Client(port, credentials(folder, own)).call("ModelInfer", echo_request())
        )
        assert error.code() is grpc.StatusCode.UNAVAILABLE
    robot = Client(port, credentials(folder, folder.make_client("robot")))
    answer = robot.call("ModelInfer", echo_request("mine"), ())
    with parts.core.database.unit() as session:
        (row,) = table.get(session, [answer.parameters["prediction"].string_param]).values()
        assert row.user_id == session.query(UserRow).filter_by(username="ada").one().id
    assert texts_of(robot.call("ModelInfer", echo_request("key"))) == ["key"]
    for name, words in (
        ("ghost", "stands for 'eve', who is no user here"),
        ("nobody", "authentication token"),
    ):
        other = Client(port, credentials(folder, folder.make_client(name)))
        error = refusal(lambda other=other: other.call("ModelInfer", echo_request(), ()))
        assert (error.code(), words in error.details()) == (grpc.StatusCode.UNAUTHENTICATED, True)


def test_certificates_are_read_again_when_their_files_change_and_bad_ones_are_not_used(
    serve, folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_SECONDS", 0.0)
    own, next_one = CertificateFolder(tmp_path / "own"), CertificateFolder(tmp_path / "next")
    server, other = own.make_server([]), next_one.make_server([])
    port = serve(grpc_tls_cert_file=server.certificate, grpc_tls_key_file=server.key).port
    live = messages.ServerLiveRequest()
    assert Client(port, credentials(own)).call("ServerLive", live).live
    server.certificate.write_bytes(other.certificate.read_bytes())  # its key is still to come
    assert Client(port, credentials(own)).call("ServerLive", live).live
    server.key.write_bytes(other.key.read_bytes())
    assert Client(port, credentials(next_one)).call("ServerLive", live).live


def test_files_that_cannot_serve_are_named_before_the_worker_starts(serve, folder) -> None:
    wrong_key = folder.make_client("other").key
    with pytest.raises(Unavailable, match=r"client-other\.key is not the key of .*server\.pem"):
        serve(**tls_settings(folder, grpc_tls_key_file=wrong_key))


def test_a_check_says_in_a_sentence_why_a_client_cannot_connect(serve, folder, tmp_path) -> None:
    ca = folder.authority.certificate
    port = serve(**tls_settings(folder, grpc_tls_client_ca_file=ca)).port
    own, foreign = folder.make_client("asks"), CertificateFolder(tmp_path).make_client("asks")
    cases = [
        (TlsClient(ca, own.certificate, own.key), ""),
        (TlsClient(ca), "wants a client certificate (mutual TLS), and there was none"),
        (TlsClient(ca, foreign.certificate, foreign.key), "refuses this client's certificate"),
        (TlsClient(), "its certificate is not trusted by this client"),
        (TlsClient(ca, own.certificate, foreign.key), "own files cannot be used"),
    ]
    for client, words in cases:
        fault = find_fault("127.0.0.1", port, client)
        assert (words in fault) if words else not fault, fault
    plaintext = serve().port
    assert "does not speak TLS" in find_fault("127.0.0.1", plaintext, TlsClient(ca))

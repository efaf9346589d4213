"""The Python client of a worker's gRPC, and the fingerprint by which it knows the worker."""

import asyncio
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from rpc_client import KEY

from app.composition_direct import build_post
from app.engine.devices import Device
from app.local.certificates import CertificateFolder
from app.services.people.worker_tokens import GrantSigner, WorkerGrant
from lovage import Refused, SessionInfo, Tensor, Tls, WrongCertificate
from lovage.async_worker import AsyncWorker
from lovage.worker import Worker


def info_of(port: int, **values: Any) -> SessionInfo:
    return replace(SessionInfo(f"localhost:{port}", KEY, "ada/echo", ""), **values)


def test_a_worker_predicts_streams_infers_and_is_canceled(serve) -> None:
    with Worker(info_of(serve().port)) as worker:
        assert worker.predict({"text": "hello"}).require_success().output == "hello"
        events = list(worker.stream({"text": "abcd", "chunks": 2}))
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert [event.data for event in events if event.kind == "output"] == ["ab", "cd"]
        [output] = worker.infer([Tensor.of("text", "BYTES", ["direct"])]).values()
        assert output.values == ["direct"]
        with closing(worker.stream({"text": "x" * 40, "chunks": 40, "seconds": 40})) as stream:
            assert worker.cancel(next(stream).id)
            assert [event.prediction for event in stream][-1].status == "canceled"
        with pytest.raises(Refused) as refused:
            worker.predict({"text": 7})
        assert refused.value.code == "invalid_argument"


def test_a_stream_ends_with_its_token_though_its_reader_is_slow(serve, parts) -> None:
    until = int(time.time()) + 2
    grant = WorkerGrant("cpu@here", None, "ada", "ada/echo", parts.version, until)
    info = info_of(serve().port, token=GrantSigner(parts.secret).issue(grant))
    with Worker(info) as worker:
        events = worker.stream({"text": "x" * 900_000, "chunks": 100, "seconds": 4.0})
        next(events)
        time.sleep(max(0.0, until + 0.2 - time.time()))  # gRPC has taken what it takes without a reader
        with pytest.raises(Refused, match="session has expired"):
            list(events)


async def test_a_worker_is_called_from_asyncio(serve) -> None:
    server = await asyncio.to_thread(serve)
    async with AsyncWorker(info_of(server.port)) as worker:
        assert (await worker.predict({"text": "hello"})).output == "hello"
        assert [event.kind async for event in worker.stream({"text": "ab", "chunks": 1})][-1] == "done"


def test_the_fingerprint_that_a_worker_publishes_makes_an_authority_needless(
    serve, settings, tmp_path
) -> None:
    folder = CertificateFolder(tmp_path)
    files, client = folder.make_server([]), folder.make_client("ada")
    tls = {
        "grpc_port": 1,
        "grpc_tls_cert_file": files.certificate,
        "grpc_tls_key_file": files.key,
        "grpc_tls_client_ca_file": folder.authority.certificate,
    }
    facts = build_post(settings.model_copy(update=tls), Device("cpu"), "", 8).device_facts
    sha256 = facts["grpc_certificate"]
    port = serve(**{**tls, "grpc_port": 0}).port
    own = Tls(certificate=str(client.certificate), key=str(client.key))
    info = info_of(port, tls=facts["grpc_tls"], certificate_sha256=sha256)
    with Worker(info, own) as worker:
        assert worker.predict({"text": "hello"}).output == "hello"
    with pytest.raises(WrongCertificate, match="another certificate than the platform named"):
        Worker(replace(info, certificate_sha256="ab" * 32), own)

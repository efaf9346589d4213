"""What the contract stands on: a platform with its models, sessions with it, and an HTTPS port before its
API. Knows no client and no case."""

import asyncio
import contextlib
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from app.local.certificates import CertificateFiles, CertificateFolder
from app.local.secret_file import load_or_make
from app.services.people.worker_tokens import GrantSigner, GrantVerifier, WorkerGrant, public_key
from scripts.bench.random_models import cross_encoder
from scripts.bench.stage import Stage

Json = dict[str, Any]
GRAPH = Path(__file__).parents[1] / "clients" / "adder.onnx"
SESSION_SECONDS, START_SECONDS = 60.0, 10.0


@dataclass(frozen=True)
class Ground:
    """`url` and `key` of the API, `api_tls` where it speaks HTTPS; `tls` of its workers' clients; models by a
    short name."""

    on: Stage
    url: str
    key: str
    api_tls: Json
    tls: Json
    models: dict[str, str]

    def session(self, model: str, **options: Any) -> Json:
        """As the API answers it; asked for until a worker is there."""
        body, until = {"model": self.models[model], **options}, time.monotonic() + SESSION_SECONDS
        while True:
            answer = self.on.client.post("/v1/sessions", json=body)
            if answer.status_code == 201:
                session: Json = answer.json()
                return session
            if time.monotonic() > until:
                raise RuntimeError(answer.text)
            time.sleep(0.2)

    def token(self, session: Json, **changes: Any) -> str:
        """Signed by the platform's own key, with other claims than it would give."""
        secret = load_or_make(Path(self.on.platform.key_file).parent).secret_key
        grant = GrantVerifier(public_key(secret), session["worker"]).verify(session["token"])
        assert grant
        changed: WorkerGrant = replace(grant, **changes)
        return GrantSigner(secret).issue(changed)

    def wish(self, model: str, **options: Any) -> Json:
        """What a client asks the API for."""
        names = {"url": self.url, "key": self.key, "model": self.models[model]}
        return {**names, "tls": self.api_tls, **options}


def register_models(on: Stage, folder: Path) -> dict[str, str]:
    """A graph, a cross-encoder and the demo models, by a short name."""
    (folder / "graph").mkdir()
    shutil.copy(GRAPH, folder / "graph")
    (folder / "ranker").mkdir()
    made = cross_encoder(folder / "ranker")
    return {
        "echo": "demo/echo",
        "minilm": "demo/minilm",
        "graph": on.model(f"graph-{uuid4().hex[:6]}", folder / "graph", "onnx"),
        "ranker": on.model(f"ranker-{uuid4().hex[:6]}", made, "pair-scoring"),
    }


@contextlib.contextmanager
def https_before(api_url: str, certificate: CertificateFiles) -> Iterator[str]:
    """An address that speaks TLS and passes everything on to the API."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    host, _, port = api_url.removeprefix("http://").rpartition(":")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: None)  # a handshake that a case has refused
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    serve = partial(_pass_on, host, int(port))
    starting = asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(START_SECONDS)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)


async def _pass_on(host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    api_reader, api_writer = await asyncio.open_connection(host, port)
    await asyncio.gather(_copy(reader, api_writer), _copy(api_reader, writer), return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    finally:
        target.close()


def tls_files(folder: CertificateFolder, client: CertificateFiles | None = None) -> Json:
    """As clients take them."""
    files = {"ca": str(folder.authority.certificate)}
    if client:
        files |= {"certificate": str(client.certificate), "key": str(client.key)}
    return files

"""HTTPS by the API itself: what cannot be used is said before anything starts."""

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from app.api.protocol import BoundedHttp
from app.cli.processes import check_tls
from app.settings import Settings


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    own = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *own], check=True, capture_output=True)
    return certificate, key


def test_a_client_that_knows_the_certificate_is_served(pair: tuple[Path, Path]) -> None:
    check_tls(*pair)
    app = FastAPI()
    app.get("/secure")(lambda: "dill")
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=BoundedHttp, ssl_certfile=pair[0], ssl_keyfile=pair[1], log_level="warning", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    trusted = ssl.create_default_context(cafile=str(pair[0]))
    url = f"https://127.0.0.1:{listener.getsockname()[1]}/secure"
    try:
        with httpx.Client(verify=trusted, trust_env=False, timeout=20) as client:
            assert client.get(url).json() == "dill"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.mark.parametrize("broken", ["absent", "swapped"])
def test_what_cannot_be_used_is_named_in_one_sentence(
    broken: str, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    certificate, key = (Path("/nowhere"), pair[1]) if broken == "absent" else pair[::-1]
    with pytest.raises(SystemExit) as ended:
        check_tls(certificate, key)
    assert (ended.value.code, capsys.readouterr().err.count("\n")) == (2, 1)


def test_one_of_the_two_is_refused(pair: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match="belong together"):
        Settings(lovage_env="development", tls_cert_file=pair[0])

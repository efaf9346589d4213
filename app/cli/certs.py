"""`lovage certs init`: certificates with which to try out TLS and mutual TLS."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import screen
from app.cli.connection import EXIT_FAILED, EXIT_USAGE, JSON, show_outcome, stop
from app.local.errors import LocalError

if TYPE_CHECKING:
    from app.local.certificates import CertificateFiles, CertificateFolder

PANEL = "Administration"
MOST_PORTS = 65_536
DEFAULT_FOLDER = Path("certificates")


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(
        help="Make certificates for trying out TLS, and check what a port wants.", no_args_is_help=True
    )
    group.callback()(_certs)
    group.command("init")(init)
    group.command("check")(check)
    app.add_typer(group, name="certs", rich_help_panel=PANEL)


def _certs() -> None:
    """Make certificates for trying out TLS, and check what a port wants."""


def init(
    folder: Annotated[Path, typer.Argument(help="Where they are written.")] = DEFAULT_FOLDER,
    host: Annotated[
        list[str] | None,
        typer.Option(
            help="Name or address under which clients reach the server, beside localhost; may be repeated."
        ),
    ] = None,
    client: Annotated[
        list[str] | None,
        typer.Option(help="A client's name, such as a username; may be repeated, later too."),
    ] = None,
) -> None:
    """Make an authority, a server's certificate and clients' certificates, and say how to use them. What is
    there already is kept: run it again for more clients."""
    from app.local.certificates import CertificateFolder

    try:
        pairs = CertificateFolder(folder)
        server = pairs.make_server(host or [])
        clients = [pairs.make_client(name) for name in client or []]
    except LocalError as error:
        stop(str(error), EXIT_USAGE)
    for files in (pairs.authority, server, *clients):
        print(screen.visible(f"{'made' if files.is_new else 'kept'} {files.certificate}, {files.key}"))
    print(screen.visible(_settings(pairs, server, has_clients=bool(clients))))


def check(
    address: Annotated[str, typer.Argument(help="host:port of a worker's GRPC_PORT.")],
    ca: Annotated[Path | None, typer.Option(help="The server's authority (PEM).")] = None,
    certificate: Annotated[Path | None, typer.Option(help="The client's certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Say in a sentence why a client with these files cannot call a port, or that it can."""
    from app.cli.tls_check import TlsClient, find_fault

    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < MOST_PORTS:
        stop(f"{address[:100]!r} is no address: write host:port", EXIT_USAGE)
    if bool(certificate) != bool(key):
        stop("--certificate and --key belong together", EXIT_USAGE)
    if fault := find_fault(host.strip("[]"), int(port), TlsClient(ca, certificate, key)):
        stop(f"{address}: {fault}", EXIT_FAILED)
    sentence = screen.visible(f"{address} can be called over TLS with these files")
    show_outcome({"address": address, "ok": True}, sentence, as_json)


def _settings(pairs: "CertificateFolder", server: "CertificateFiles", *, has_clients: bool) -> str:
    """What to write into .env."""
    lines = [
        "",
        f"GRPC_TLS_CERT_FILE={server.certificate.resolve()}",
        f"GRPC_TLS_KEY_FILE={server.key.resolve()}",
    ]
    if has_clients:
        lines += [
            f"GRPC_TLS_CLIENT_CA_FILE={pairs.authority.certificate.resolve()}",
            "GRPC_TLS_USERS=*",
        ]
    return "\n".join(lines)

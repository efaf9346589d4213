"""`lovage certs init`: certificates with which to try out TLS and mutual TLS."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import screen
from app.cli.connection import EXIT_USAGE, stop
from app.local.errors import LocalError

if TYPE_CHECKING:
    from app.local.certificates import CertificateFiles, CertificateFolder

PANEL = "Administration"
DEFAULT_FOLDER = Path("certificates")


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(help="Make certificates for trying out TLS.", no_args_is_help=True)
    group.callback()(_certs)
    group.command("init")(init)
    app.add_typer(group, name="certs", rich_help_panel=PANEL)


def _certs() -> None:
    """Make certificates for trying out TLS."""


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

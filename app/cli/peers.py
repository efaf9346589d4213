"""`lovage peer`, the process, and `lovage peers`, what it knows."""

import platform
import sys
from http import HTTPStatus
from typing import Annotated, Any

import typer

from app.cli import screen
from app.cli.connection import EXIT_USAGE, JSON, Api, ApiError, show_json, stop
from app.setting_types import listed
from app.settings import Settings, load

NOBODY = "P2P_ALLOWED_PEERS or P2P_SHARED_KEY must be set: without them anybody could have models run here"

OFF = "this platform has no peers: ENABLE_P2P is off there"


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command(rich_help_panel="Processes (what `lovage up` and the containers start)")(peer)
    app.command(rich_help_panel="Administration")(peers)


def peer() -> None:
    """Be a peer: run predictions of other platforms, and have them run this one's."""
    from app.observe import log_level, logs
    from app.peers.launcher import run_peer

    settings = load()
    logs.configure(settings.log_format, settings.log_level)
    log_level.switch_on_signal(settings.log_level)
    if not (settings.p2p_allowed_peers or settings.p2p_shared_key):
        stop(NOBODY, EXIT_USAGE)
    sys.exit(run_peer(node_options(settings), str(settings.p2p_python or sys.executable)))


def node_options(settings: Settings) -> dict[str, Any]:
    """The options of the peer's own process."""
    from app.backends.peer_door import PEER_FOLDER

    return {
        "folder": str((settings.lovage_data_dir / PEER_FOLDER).absolute()),
        "listen": listed(settings.p2p_listen),
        "public_addresses": listed(settings.p2p_public_addresses),
        "bootstrap": listed(settings.p2p_bootstrap),
        "mdns": settings.p2p_mdns,
        "network": settings.p2p_network,
        "allowed": listed(settings.p2p_allowed_peers),
        "shared_key": settings.p2p_shared_key,
        "name": settings.p2p_name or platform.node().lower(),
        "api_url": settings.p2p_api_url or f"http://127.0.0.1:{settings.api_port}",
        "api_key": settings.p2p_api_key,
        "models": listed(settings.p2p_models),
        "limit": settings.p2p_concurrency,
        "silence": settings.p2p_silence_seconds,
    }


def peers(as_json: Annotated[bool, JSON] = False) -> None:
    """List the peers, and this platform's own addresses and id."""
    try:
        shown = Api().request("GET", "/v1/peers")
    except ApiError as error:
        stop(OFF if error.status == HTTPStatus.NOT_FOUND else str(error), error.code)
    if as_json:
        show_json(shown)
        return
    if shown["error"]:
        print(shown["error"])
        return
    print(f"{shown['name']}  {shown['id']}")
    for address in shown["addresses"]:
        print(f"  {address}")
    offers = ", ".join(shown["offers"][:10]) or "nothing"
    print(f"offers {offers}; {shown['running']} of at most {shown['limit']} predictions of peers run here")
    table = screen.new_table("peer", "state", "models", "running", "in flight", "calls", "failed", "id")
    for each in shown["results"]:
        running = f"{each['running']} of {each['limit']}"
        counts = [str(each[name]) for name in ("in_flight", "calls", "failures")]
        table.add_row(each["name"], each["state"], str(len(each["models"])), running, *counts, each["id"])
    screen.console().print(table)

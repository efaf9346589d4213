"""`lovage mcp`: the platform's tools for assistants that start a program and speak to it over standard input
and output. A client of `/mcp`, as every other."""

import asyncio

import typer

from app.cli.connection import Api, stop

PANEL = "Use a platform"
MISSING = "`lovage mcp` needs a library that is not installed: pip install 'lovage[mcp]'"


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command(name="mcp", rich_help_panel=PANEL)(serve)


def serve() -> None:
    """Speak the Model Context Protocol over standard input and output."""
    try:
        from app.cli.mcp_proxy import pass_on
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "httpx2"):
            raise
        stop(MISSING)
    api = Api()
    api.request("GET", "/v1/account")  # whatever is wrong is said before an assistant waits for an answer
    asyncio.run(pass_on(f"{api.url}/mcp", api.headers))

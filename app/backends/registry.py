"""Name -> class of a kind of backend: the one door by which kinds enter. Built-ins below, and entry points of
the group `lovage.backends`. Nothing is imported before it is asked for."""

import importlib
from importlib.metadata import entry_points

from app.backends.base import BackendKind
from app.domain.errors import NotFound

ENTRY_POINT_GROUP = "lovage.backends"
BUILT_IN = {
    "openai": "app.backends.openai_server:OpenAIServer",
    "tgi": "app.backends.tgi_server:TgiServer",
    "tei": "app.backends.tei_server:TeiServer",
    "ollama": "app.backends.ollama_server:OllamaServer",
    "oip": "app.backends.oip_server:OipServer",
    "hybrid": "app.backends.hybrid_set:HybridSet",
    "cli": "app.backends.cli_program:CliProgram",
    "managed": "app.backends.managed_server:ManagedServer",
    "lovage": "app.backends.lovage_server:LovageServer",
    "p2p": "app.backends.peer_network:PeerNetwork",
    "mcp": "app.backends.mcp_server:McpServer",
}


def names() -> list[str]:
    """Every name that `find` would answer."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    return list(dict.fromkeys([*BUILT_IN, *(point.name for point in points)]))


def find(name: str) -> type[BackendKind]:
    """The class of a kind. Raises NotFound, whose sentence lists the known ones."""
    if target := BUILT_IN.get(name):
        module, _, attribute = target.partition(":")
        kind: type[BackendKind] = getattr(importlib.import_module(module), attribute)
        return kind
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name == name:
            plugin: type[BackendKind] = point.load()
            return plugin
    raise NotFound(f"There is no kind of backend '{name}'; known are {', '.join(names())}.")

"""Whatever changes something is in the audit log, or is named here with why it is not."""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from fastapi.routing import APIRoute

from app.api.deps import note
from app.main import create_app
from app.settings import Settings

# Runs of models, and what else changes nothing but one's own predictions, which are records themselves.
NOT_NOTED = re.compile(
    r"(models\.|deployments\.)?predictions\.create|predictions\.bulk\.(cancel|rerun)"
    r"|openai\.(chat\.completions|completions|embeddings|images|responses|audio|moderations)\..*"
    r"|(anthropic|ollama|rerank|score|tei)\..*"
    r"|oip\.(version\.)?(infer|generate(\.stream)?)|oip\.repository\.index|sessions\.create"  # makes tokens
    r"|models\.upload\.part"  # its beginning and its end are
    r"|files\.create|models\.check|backends\.test|/session"  # one browser is signed out
    r"|/v1/models/\{owner\}/\{name\}/versions/\{version\}/trainings"  # always refused
)


def functions_of(endpoint: Callable[..., Any], depth: int = 2) -> Iterator[Callable[..., Any]]:
    """It, and what it calls of what its own module has or imports, so many calls deep."""
    yield endpoint
    if not depth:
        return
    for name in re.findall(r"\b(_?[a-z_]+)\(", inspect.getsource(endpoint)):
        called = getattr(inspect.getmodule(endpoint), name, None)
        if inspect.isfunction(called) and called is not note:
            yield from functions_of(called, depth - 1)


def test_what_changes_something_is_in_the_audit_log() -> None:
    changing = [
        route
        for route in create_app(Settings(lovage_env="development")).routes
        if isinstance(route, APIRoute) and route.methods & {"POST", "PUT", "PATCH", "DELETE"}
    ]
    silent = {
        str(route.operation_id or route.path)
        for route in changing
        if not any("note(" in inspect.getsource(each) for each in functions_of(route.endpoint))
    }
    assert len(changing) > len(silent) > 20
    assert not [name for name in silent if not NOT_NOTED.fullmatch(name)]

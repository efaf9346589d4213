"""`-i key=value` as a prediction's input: typed by the model's schema, `@file` as a data URI."""

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any

from app.cli.connection import EXIT_USAGE, stop


def parse(pairs: list[str], schema: dict[str, Any]) -> dict[str, Any]:
    """The input. Ends the command with a sentence for a pair that is none or a file that is not there."""
    properties = schema.get("properties", {})
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            stop(f"-i {pair}: must be key=value", EXIT_USAGE)
        values[name] = value(name, text, properties.get(name, {}))
    return values


def value(name: str, text: str, schema: dict[str, Any]) -> Any:
    """One value. Strings stay as they are; other types are read as JSON; a leading @ names a file."""
    if text.startswith("@"):
        return _file(name, Path(text[1:]).expanduser(), schema)
    if schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text  # the server says what it wants instead


def _file(name: str, path: Path, schema: dict[str, Any]) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        stop(f"-i {name}: {path}: {error.strerror}", EXIT_USAGE)
    if schema.get("format") != "uri":
        return content.decode(errors="replace")
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

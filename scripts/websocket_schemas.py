"""Writes the JSON Schemas of the WebSocket's messages into docs/reference/websocket/. A test fails when they
differ."""

import json
from pathlib import Path

from app.api.websocket.messages import CLIENT, SERVER

FOLDER = Path(__file__).parents[1] / "docs" / "reference" / "websocket"
SCHEMAS = {"client.schema.json": CLIENT, "server.schema.json": SERVER}


def text_of(name: str) -> str:
    """One schema as it is committed."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **SCHEMAS[name].json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in SCHEMAS:
        (FOLDER / name).write_text(text_of(name), "utf-8")

"""Writes `openapi.json`, the API's OpenAPI document. A test fails when the file and the routes differ."""

import json
from pathlib import Path

from app.main import create_app
from app.settings import Settings

TARGET = Path(__file__).parents[1] / "openapi.json"


def document() -> str:
    """The document as it is committed."""
    made = create_app(Settings(lovage_env="development", enable_p2p=True)).openapi()
    return json.dumps(made, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TARGET.write_text(document(), "utf-8")

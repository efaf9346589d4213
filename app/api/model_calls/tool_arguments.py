"""The arguments of a tool call, which models' outputs hold as text, as an object. Knows no wire format."""

import json
from typing import Any


def parsed_arguments(text: str) -> dict[str, Any]:
    """Empty where they are none."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}

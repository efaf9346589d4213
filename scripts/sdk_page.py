"""Writes the part `Reference` of docs/reference/sdk.md from the signatures and docstrings of the package
`lovage`. A test fails when they differ: python -m scripts.sdk_page"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lovage
from lovage import client, files, keys, models, placement, sessions, webhooks, worker

TARGET = Path(__file__).parents[1] / "docs" / "reference" / "sdk.md"
PARTS = {
    "`Client`": client.Client,
    "`client.models`": models.Models,
    "`client.keys`": keys.Keys,
    "`client.files`": files.Files,
    "`client.webhooks`": webhooks.Webhooks,
    "`client.sessions`": sessions.Sessions,
    "Options of a session": placement.Options,
    "A session": sessions.DirectSession,
    "`lovage.worker.Worker`: one worker, nothing tried again": worker.Worker,
    "`Tensor`": lovage.Tensor,
    "`Prediction`": lovage.Prediction,
    "`Event`": lovage.Event,
    "`Tls`": lovage.Tls,
}
ERRORS = (
    lovage.LovageError,
    lovage.Refused,
    lovage.Unreachable,
    lovage.WrongCertificate,
    lovage.PredictionFailed,
)
MARK = "## Reference\n"
INNER = ("carry_out", "body", "from_json")  # what the parts use among themselves


def page() -> str:
    """As it is committed."""
    words, _, _ = TARGET.read_text("utf-8").partition(MARK)
    lines = [words, MARK, "\nMade from the code by `python -m scripts.sdk_page`.\n"]
    for title, part in PARTS.items():
        lines += [f"\n### {title}\n\n{_text(part)}\n\n", *_table(part)]
    lines += ["\n### Errors\n\n| class | |\n|---|---|\n"]
    lines += [f"| `{error.__name__}({error.__bases__[0].__name__})` | {_text(error)} |\n" for error in ERRORS]
    return "".join(lines)


def _table(part: Any) -> Iterator[str]:
    rows = list(_rows(part))
    if rows:
        yield "| | |\n|---|---|\n"
        yield from rows


def _rows(part: Any) -> Iterator[str]:
    yield f"| `{_signature(part.__name__, part)}` | {_text(part.__init__)} |\n"
    for name, value in vars(part).items():
        if name.startswith("_") or name in INNER:
            continue
        if isinstance(value, property):
            yield f"| `{name}` | {_text(value)} |\n"
        elif inspect.isroutine(value):
            call = getattr(part, name)
            yield f"| `{_signature(name, call)}` | {_text(call)} |\n"


def _signature(name: str, call: Any) -> str:
    signature = inspect.signature(call)
    parameters = [each for key, each in signature.parameters.items() if key not in ("self", "client")]
    text = f"{name}{signature.replace(parameters=parameters)}"
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)  # annotations that are kept as texts
    text = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)  # Mapping, not collections.abc.Mapping
    return text.removesuffix(" -> None").replace("<factory>", "…").replace("|", "\\|")


def _text(part: Any) -> str:
    text = " ".join((inspect.getdoc(part) or "").split("\n\n")[0].split())
    return "" if text.startswith("Initialize self.") else text.replace("|", "\\|")


def main() -> int:
    TARGET.write_text(page(), "utf-8")
    print(f"written: {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

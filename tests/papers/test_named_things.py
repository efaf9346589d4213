"""What the papers name exists: commands with their options, settings, addresses of the API."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from app import setting_sources, settings
from app.cli import app as program

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Of what was is the changelog, of what was thought the records of decisions.
PAPERS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
    ROOT / "deploy" / "kubernetes" / "README.md",
    *sorted(path for path in DOCS.rglob("*.md") if "adr" not in path.parts and path.name != "lab-log.md"),
]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.M | re.S)
KNOWN = {
    *settings.KNOWN,
    *setting_sources.ALIASES,
    *setting_sources.PARTS,
    *(name + setting_sources.FILE_SUFFIX for name in settings.SECRETS),
    setting_sources.ENV_FILE,
    setting_sources.DEPLOYMENT_FILE,
    *re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.M),
}

# Variables of other programs, of tests and examples, constants that a runtime's file may have, gRPC's codes.
OF_OTHERS = {
    "DEADLINE_EXCEEDED",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "NOT_SERVING",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UV_INDEX_URL",
    "DENIED_NETWORKS",
    "LABEL_0",
    "LOVAGE_FUZZ_EXAMPLES",
    "LOVAGE_WAITING_ROWS",
    "LOVAGE_WEBHOOK_SECRET",
    "MODEL_ID",
    "NAME_FILE",
    "OLLAMA_API_KEY",
    "OLLAMA_HOST",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_SAMPLER",
    "PIP_EXTRA_INDEX_URL",
}
ABSENT = {("GET", "/v1/responses/{id}/input_items")}  # its page says that it is not there
BENCH = ("apply", "compare", "run", "sweep")


def name_of(paper: Path) -> str:
    return str(paper.relative_to(ROOT))


def commands_of(paper: Path) -> Iterator[list[str]]:
    """The words behind `lovage` of each command in a fence or between backticks."""
    text = paper.read_text("utf-8")
    lines = [line for kind, block in FENCE.findall(text) if kind in ("sh", "bash") for line in joined(block)]
    lines += re.findall(r"`(lovage [^`\n]+)`", FENCE.sub("", text))
    for line in lines:
        for part in re.findall(
            r"(?:^|[|;&(]|(?<!-n)\s)(?:\.venv/bin/)?lovage ([^|;&>)]*)", line.partition(" # ")[0]
        ):
            try:
                yield shlex.split(part)
            except ValueError:
                yield part.split()


def joined(block: str) -> list[str]:
    """Its lines without comments and the documents that commands write."""
    block = re.sub(r"<<'(\w+)'\n.*?^\1$", "", block, flags=re.M | re.S)
    return [line for line in block.replace("\\\n", " ").splitlines() if not line.strip().startswith("#")]


def unknown_in(words: list[str]) -> str:
    """The first word that is no command or option; "" where all are."""
    if words[:1] == ["bench"] and words[1:2] and words[1] not in BENCH:
        words = ["bench", "run", *words[1:]]  # its own shorthand
    command: Any = get_command(program)
    context = command.context_class(command)
    while hasattr(command, "list_commands") and words and re.match(r"[a-z]", words[0]):
        child = command.get_command(context, words[0])
        if child is None:
            return words[0] if not command.params or command.no_args_is_help else ""
        command, words = child, words[1:]
    known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)} | {
        "--help"
    }
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return next((option for option in options if option not in known), "")


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_commands_of_a_paper_exist_with_their_options(paper: Path) -> None:
    unknown = {f"lovage {shlex.join(words)}": unknown_in(words) for words in commands_of(paper)}
    assert not {line: word for line, word in unknown.items() if word}


def test_there_are_many_commands_and_a_wrong_one_is_noticed() -> None:
    assert sum(len(list(commands_of(paper))) for paper in PAPERS) > 150
    assert unknown_in(["models", "ad", "x"]) == "ad"
    assert unknown_in(["models", "add", "x", "--nme", "y"]) == "--nme"
    assert unknown_in(["worker", "drain", "NAME"]) == unknown_in(["worker", "--device", "cpu"]) == ""


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_settings_of_a_paper_exist(paper: Path) -> None:
    text = paper.read_text("utf-8")
    named = set(re.findall(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)(?:=[^`]*)?`", text))
    for kind, block in FENCE.findall(text):
        if kind in ("sh", "bash"):
            named |= set(re.findall(r"^ *(?:export )?([A-Z][A-Z0-9]*_[A-Z0-9_]+)=", block, re.M))
    assert named - KNOWN - OF_OTHERS == set()


@pytest.mark.parametrize("paper", PAPERS, ids=name_of)
def test_addresses_of_a_paper_exist(paper: Path) -> None:
    paths = json.loads((ROOT / "openapi.json").read_text())["paths"]
    known = {(method.upper(), re.sub(r"\{\w+\}", "{}", path)) for path, of in paths.items() for method in of}
    named = re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[\w./{}-]*)", paper.read_text("utf-8"))
    missing = {
        (method, path) for method, path in named if (method, re.sub(r"\{\w+\}", "{}", path)) not in known
    }
    assert missing <= ABSENT

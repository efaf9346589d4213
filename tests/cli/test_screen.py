"""No text from people can break a table, hide in it or act on the terminal."""

import ast
import io
import json
from pathlib import Path

import pytest

from app.cli import screen

CLI = Path(screen.__file__).parent
HOSTILE = (
    "[/x]",
    "[conceal]hidden[/conceal]",
    "[bold",
    ":smile:",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b2J",
    "\u202egnp.exe",
    "a\x00b\x7f",
    "\u2028next",
    "\\[red]",
)


def printed(*texts: str) -> str:
    """A table of the texts, and lines of them."""
    console = screen.console()
    console.file = io.StringIO()
    table = screen.new_table("id", "text")
    for text in texts:
        table.add_row(text, text)
    console.print(table)
    for text in texts:
        console.print(text)
        console.print(screen.styled(text, "red"), text)
    return console.file.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_shown_as_it_is_and_does_nothing(text: str) -> None:
    shown = printed(text)
    assert shown.count(screen.visible(text)) == 5
    assert shown.replace("\n", "").isprintable(), "no escape, nothing invisible"


@pytest.mark.parametrize("text", ["José", "日本語", "👩\u200d🔬", "a\tb\nc", "می\u200cخواهم"])
def test_a_text_of_any_language_is_not_changed(text: str) -> None:
    assert screen.visible(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_json_stays_what_it_was(text: str) -> None:
    assert json.loads(screen.visible(json.dumps([text], ensure_ascii=False))) == [text]


def test_an_id_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PLAIN_WIDTH", 50)
    key_id = "55514d11-9c7b-4f4e-9a56-0d3f0f3a6f10"
    console = screen.console()
    console.file = io.StringIO()
    table = screen.new_table("id", "text")
    table.add_row(key_id, "y" * 200)
    console.print(table)
    assert key_id in console.file.getvalue()
    assert console.file.getvalue().count("y") == 200, "the other columns are folded"


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_every_command_prints_through_this(path: Path) -> None:
    names = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich.")
        for alias in node.names
    }
    assert path.stem == "screen" or not names & {"Console", "Text"}, "use app.cli.screen"

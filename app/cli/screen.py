"""How data is shown on a terminal: as it is, whatever is in it.

Names, errors and outputs come from people. To rich a text such as `[/x]` is markup, to a terminal
`ESC [ 2 J` clears the screen, and an invisible character turns the rest of a line around. So what is printed
goes through here: no markup, and every character that would not be seen stands as its escape. Colour is given
with `styled`.
"""

import json
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

PLAIN_WIDTH = 160  # columns, where nobody has a window: a pipe, a file
KEPT = "\n\t\u200c\u200d"  # the last two join letters of some scripts, and emoji
HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # Unicode's categories of what is not seen as itself


def visible(text: str) -> str:
    """The text with `\\u001b` and the like in place of characters that act instead of being seen."""
    if text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in KEPT or unicodedata.category(character) not in HIDDEN:
        return character
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def on_terminal(text: str) -> str:
    """What is printed of an output: visible on a terminal, and in a pipe byte for byte what it is."""
    return visible(text) if sys.stdout.isatty() else text


def styled(text: str, style: str) -> Text:
    """In a colour; `style` as rich names it."""
    return Text(visible(text), style=style)


class DataConsole(Console):
    """Prints texts as they are: neither markup nor emoji codes, nothing invisible."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text that is not a Text yet comes through here, of tables as well."""
        return super().render_str(visible(text), **options)


def console(*, stderr: bool = False, soft_wrap: bool = False) -> DataConsole:
    """For one command's output."""
    data_console = DataConsole(markup=False, emoji=False, highlight=False, stderr=stderr, soft_wrap=soft_wrap)
    if not data_console.is_terminal:
        data_console.width = PLAIN_WIDTH
    return data_console


def new_table(*headers: str, **options: Any) -> Table:
    """Columns by their headers. An id is never cut: whoever sees it wants to copy it."""
    return DataTable(
        *(Column(header, overflow="fold", no_wrap=header == "id") for header in headers), **options
    )


class DataTable(Table):
    """A table whose ids keep their width, whatever becomes of the other columns."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """As rich's."""
        for column, cell in zip(self.columns, cells, strict=False):
            if column.no_wrap:
                column.min_width = max(column.min_width or 0, len(str(cell)))
        super().add_row(*cells, **options)

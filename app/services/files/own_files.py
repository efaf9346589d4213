"""Whether the uploaded files that an input names are its caller's: a worker reads them for whoever made the
prediction.

Knows no HTTP. Every prediction passes here, so inputs without such files cost no query.
"""

import asyncio
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any
from uuid import UUID

from app.db import files
from app.db.session import Database
from app.domain.errors import FieldError, InvalidInput
from app.domain.file_inputs import own_file, takes_files


class OwnFiles:
    """One for each API process, called on its event loop."""

    def __init__(self, database: Database, threads: Executor) -> None:
        self._database, self._threads = database, threads

    async def check(self, user_id: UUID | None, schema: dict[str, Any], inputs: dict[str, Any]) -> None:
        """`inputs` have their own names, not their aliases. Raises InvalidInput naming those that name
        somebody else's files, or none's."""
        named = own_files(schema, inputs)
        if not named:
            return

        def read() -> set[str]:
            with self._database.unit() as session:
                return files.owned(session, user_id, [file_id for _, file_id in named]) if user_id else set()

        mine = await asyncio.get_running_loop().run_in_executor(self._threads, read)
        others = dict.fromkeys(name for name, file_id in named if file_id not in mine)
        if others:
            sentence = "names a file that does not exist or has expired"
            raise InvalidInput(tuple(FieldError(f"input.{name}", "value", sentence) for name in others))


def own_files(schema: dict[str, Any], inputs: dict[str, Any]) -> list[tuple[str, str]]:
    """(input name, file id) of every uploaded file that the inputs name."""
    files_named = []
    for name, field in schema.get("properties", {}).items():
        if not takes_files(field):
            continue
        value = inputs.get(name)
        for text in value if isinstance(value, list) else [value]:
            with suppress(ValueError):  # no URL at all
                if isinstance(text, str) and (file_id := own_file(text)):
                    files_named.append((name, file_id))
    return files_named

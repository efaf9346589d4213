"""Uploaded files that inputs name: what a worker would read is what the caller is asked about."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.composition_core import Core
from app.db.tables import FileRow
from app.domain.errors import InvalidInput
from app.domain.file_inputs import own_file, takes_files
from app.domain.versions import RunnableVersion
from app.outbound.addresses import AddressPolicy
from app.outbound.guarded_client import GuardedClient
from app.services.files.input_files import fault_of
from app.services.files.own_files import OwnFiles, own_files
from app.services.predictions.input_check import InputChecker
from app.worker.inputs import Inputs

FILE = "01kam7vn3c9x0r2f4h6j8m0p2s"
PICTURE = {"type": "string", "format": "uri"}
SCHEMA = {
    "properties": {
        "image": {**PICTURE, "x-aliases": ["img"]},
        "all": {"type": "array", "items": PICTURE},
        "text": {},
    }
}
NAMES = [
    f"http://localhost:8000/v1/files/{FILE}",
    f"https://example.com/v1/files/{FILE}?download=1#page",
    f"http://h/v1/fi\tles/{FILE}",  # urlsplit leaves tabs and line ends out
    f"http://h/v1/files/{FILE}\n",
]
OTHERS = [
    f"http://127.0.0.1/v1/files/{FILE}?{'a' * 3_000}",
    f"http://127.0.0.1/v1/files/{FILE}/content",
    "http://127.0.0.1/v1/files/short",
    f"data:/v1/files/{FILE}",
    f"DATA:/v1/files/{FILE}",
]


class Read(Exception):
    """The worker asked for a file of ours."""


def reads_own(url: str, folder: Path) -> bool:
    def find(file_id: str) -> None:
        raise Read(file_id)

    try:
        inputs = Inputs(None, find, 1_000, GuardedClient(AddressPolicy()))  # type: ignore[arg-type]
        inputs.localize({"image": url}, SCHEMA, folder, lambda: False)
    except Read:
        return True
    except Exception:  # noqa: BLE001 - whatever else is raised, the file was not read
        return False
    return False


@pytest.mark.parametrize("url", [*NAMES, *OTHERS])
def test_the_caller_is_asked_about_just_what_a_worker_would_read(url: str, tmp_path: Path) -> None:
    assert reads_own(url, tmp_path) is bool(own_files(SCHEMA, {"image": url})) is (url in NAMES)


def test_what_is_no_file_of_ours_is_held_to_the_rules_for_addresses() -> None:
    assert [fault_of(url, "", policy=AddressPolicy()) for url in NAMES] == [None] * len(NAMES)
    assert fault_of(OTHERS[0], "", policy=AddressPolicy())


def test_files_are_found_in_lists_and_under_aliases() -> None:
    given = InputChecker().check(
        RunnableVersion("v", "o/n", SCHEMA, False), {"img": NAMES[0], "all": ["http://h/x", NAMES[1]]}
    )
    assert own_files(SCHEMA, {**given, "text": NAMES[0]}) == [("image", FILE), ("all", FILE)]
    assert own_files(SCHEMA, {"image": "http://[", "all": None}) == []
    assert own_file(NAMES[0]) == FILE
    assert [takes_files(one) for one in SCHEMA["properties"].values()] == [True, True, False]  # type: ignore[attr-defined]


async def test_only_the_callers_own_files_that_have_not_expired_may_be_named(core: Core) -> None:
    ada, old = uuid4(), datetime.now(UTC) - timedelta(hours=1)
    with core.database.unit() as session:
        for file_id, expires_at in ((FILE, None), (FILE[::-1], old)):
            session.add(
                FileRow(
                    id=file_id,
                    user_id=ada,
                    name="x",
                    content_type="image/png",
                    size=1,
                    sha256="",
                    md5="",
                    storage_key=file_id,
                    expires_at=expires_at,
                )
            )
    with ThreadPoolExecutor(1) as threads:

        async def check(user_id: UUID | None, *urls: str) -> None:
            await OwnFiles(core.database, threads).check(
                user_id, SCHEMA, {"all": list(urls), "image": urls[0]}
            )

        await check(ada, NAMES[0], NAMES[1])
        await check(None, "https://example.com/x.png")
        for user_id, url in ((uuid4(), NAMES[0]), (None, NAMES[0]), (ada, NAMES[0][:-26] + FILE[::-1])):
            with pytest.raises(
                InvalidInput, match=r"input\.image: names a file .*\n.*input\.all: names"
            ) as error:
                await check(user_id, url)
            assert [one.field for one in error.value.fields] == ["input.image", "input.all"]

"""Quotas in bytes: what one user keeps is counted as it comes and goes, and what is beyond is refused."""

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from moving import claimed, ending, living_worker
from sqlalchemy import text

from app import composition
from app.composition_core import Core
from app.db import storage_use, versions
from app.domain.errors import QuotaExceeded
from app.domain.versions import CompleteVersion, VersionSpec
from app.services.files.files import Files
from app.services.people.access import Principal
from app.services.predictions.backlog import Backlog, BacklogLimits
from app.settings import Settings

INPUT, OUTPUT, FILES = 1_000, 200, 5_000  # bytes of the predictions here


def kept(core: Core, user: UUID | None) -> int:
    with core.database.unit() as session:
        return storage_use.sum_predictions(session, user, 100)


def run(core: Core, statement: str, **params: object) -> None:
    with core.database.unit() as session:
        session.execute(text(statement), params)


def ended(core: Core, user: UUID | None) -> str:
    """A prediction that ended a minute ago."""
    prediction = claimed(core, living_worker(core), user_id=user, input_bytes=INPUT)
    core.lifecycle.finish([ending(prediction, output="x", output_bytes=OUTPUT, file_bytes=FILES)])
    run(
        core,
        "UPDATE predictions SET completed_at = now() - interval '1 min' WHERE id = :id",
        id=prediction.id,
    )
    return prediction.id


def count(core: Core) -> None:
    with core.database.unit() as session:
        storage_use.count_predictions(session)


@pytest.mark.parametrize("has_account", [True, False])
def test_a_predictions_bytes_count_once_when_it_has_ended_and_no_more_when_they_are_removed(
    core: Core, has_account: bool
) -> None:
    user = uuid4() if has_account else None
    count(core)
    run(core, "UPDATE platform_facts SET value = jsonb_build_object('until', now() - interval '10 min')")
    first, second = ended(core, user), ended(core, user)
    assert kept(core, user) == 0
    for _ in range(3):
        core.recovery().expiry.run()
    assert kept(core, user) == 2 * (INPUT + OUTPUT + FILES)
    assert kept(core, uuid4()) == 0
    for _ in range(2):
        core.removal().remove_all([first])
    assert kept(core, user) == INPUT + OUTPUT + FILES
    core.removal().remove_all([first, second])
    assert kept(core, user) == 0


def test_a_prediction_that_is_removed_before_it_was_counted_takes_nothing_off(core: Core) -> None:
    user = uuid4()
    counted = ended(core, user)
    count(core)
    uncounted = ended(core, user)
    run(core, "UPDATE predictions SET completed_at = now() WHERE id = :id", id=uncounted)
    core.removal().remove_all([uncounted])
    count(core)
    assert kept(core, user) == INPUT + OUTPUT + FILES
    core.removal().remove_all([counted])
    assert kept(core, user) == 0


async def test_what_waits_and_what_is_kept_count_against_the_quota_of_predictions(core: Core) -> None:
    user, other = uuid4(), uuid4()
    ended(core, user)
    count(core)
    with ThreadPoolExecutor(1) as threads:
        backlog = Backlog(core.database, threads, BacklogLimits(bytes=INPUT + OUTPUT + FILES + 10))
        backlog.admit(user, 10)  # decides by what it knows, which is nothing yet
        for _ in range(500):
            await asyncio.sleep(0.01)
            if not backlog._bytes._amounts[user].reading:
                break
        with pytest.raises(QuotaExceeded, match="PREDICTION_QUOTA_BYTES"):
            backlog.admit(user, 10)
        backlog.admit(other, 10)


@pytest.fixture
def ada(core: Core, settings: Settings) -> Iterator[Principal]:
    with ThreadPoolExecutor(1) as threads:
        people = composition.build_people(settings, core.database, threads)
        user = people.accounts.create("ada@x.io", "ada", "correct horse battery")
        yield Principal(user.id, "ada", frozenset({"predict", "models"}))


def upload(files: Files, person: Principal, size: int) -> str:
    return files.upload(person, io.BytesIO(b"x" * size), "a", "text/plain", {}).id


def test_uploads_beyond_their_quota_are_refused_and_leave_no_bytes(
    core: Core, settings: Settings, ada: Principal
) -> None:
    files = composition.build_files(settings.model_copy(update={"upload_quota_bytes": 100}), core)
    first = upload(files, ada, 60)
    with pytest.raises(QuotaExceeded, match="UPLOAD_QUOTA_BYTES"):
        upload(files, ada, 41)
    with pytest.raises(QuotaExceeded):
        upload(files, ada, 101)
    assert list(core.storage.list("files/")) == [f"files/{first}"]
    upload(files, ada, 40)
    files.remove(ada, first)
    upload(files, ada, 60)


def test_sum_uploads_at_once_no_more_are_taken_than_fit(
    core: Core, settings: Settings, ada: Principal
) -> None:
    files = composition.build_files(settings.model_copy(update={"upload_quota_bytes": 100}), core)

    def try_upload(_: int) -> bool:
        try:
            return bool(upload(files, ada, 30))
        except QuotaExceeded:
            return False

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(try_upload, range(6))) == 3
    assert len(list(core.storage.list("files/"))) == 3


def test_an_expired_file_counts_until_it_is_gone(core: Core, settings: Settings, ada: Principal) -> None:
    files = composition.build_files(settings.model_copy(update={"upload_quota_bytes": 100}), core)
    upload(files, ada, 100)
    run(core, "UPDATE files SET expires_at = now() - interval '1 s'")
    with pytest.raises(QuotaExceeded):
        upload(files, ada, 1)
    core.recovery().expiry.run()
    upload(files, ada, 100)


def test_models_of_the_hub_count_each_source_once(core: Core, settings: Settings, ada: Principal) -> None:
    limited = settings.model_copy(update={"model_quota_bytes": 100})
    maker = composition.build_version_maker(limited, core.database)
    with ThreadPoolExecutor(1) as threads:
        catalogue, _, _ = composition.build_catalogue(limited, core, threads)

    def create() -> UUID:
        return catalogue.create(ada, "ada", "m", {"visibility": "private"}).model.id

    def add(model: UUID, source: str, size: int | None, task: str = "") -> None:
        spec = VersionSpec("ada/m", source, "echo", task, {}, {})
        version = CompleteVersion(spec, {}, False, size)
        with core.database.unit() as session:
            maker.check_quota(session, ada.need_user(), version)
            versions.put(session, model, version, ada.need_user())

    model = create()
    add(model, "hf:a/b@1", 60)
    add(model, "hf:a/b@1", 60, task="another")
    add(model, "path:/large", None)
    with pytest.raises(QuotaExceeded, match="MODEL_QUOTA_BYTES"):
        add(model, "hf:a/c@1", 41)
    add(model, "hf:a/c@1", 40)
    catalogue.remove(ada, "ada", "m")
    add(create(), "hf:a/d@1", 100)

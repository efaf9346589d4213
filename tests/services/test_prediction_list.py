"""Pages of predictions, newest first."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from moving import accepted, begin, claimed, living_worker

from app.composition_core import Core
from app.domain.errors import InvalidRequest
from app.services.people.access import Principal
from app.services.predictions.prediction_list import Narrowed, PredictionList


@pytest.fixture
def listing(core: Core) -> Iterator[PredictionList]:
    with ThreadPoolExecutor(1) as threads:
        yield PredictionList(core.database, threads)


def somebody(user: UUID) -> Principal:
    return Principal(user, "ada", frozenset({"predict"}))


async def test_pages_go_forward_and_back_newest_first(core: Core, listing: PredictionList) -> None:
    user = uuid4()
    ids = sorted((accepted(core, user_id=str(user)).id for _ in range(7)), reverse=True)
    accepted(core, user_id=str(uuid4()))
    caller, every = somebody(user), Narrowed()
    first = await listing.page(caller, every, limit=3)
    second = await listing.page(caller, every, limit=3, cursor=first.next)
    third = await listing.page(caller, every, limit=3, cursor=second.next)
    assert [one.prediction.id for page in (first, second, third) for one in page.results] == ids
    assert (first.previous, third.next) == (None, None)
    back = await listing.page(caller, every, limit=3, cursor=third.previous)
    assert [one.prediction.id for one in back.results] == ids[3:6]


async def test_pages_can_be_narrowed_and_refuse_foreign_cursors(core: Core, listing: PredictionList) -> None:
    caller = somebody(uuid4())
    accepted(core, user_id=str(caller.user_id))
    running = claimed(core, living_worker(core), user_id=str(caller.user_id), model="demo/other")
    begin(core, running)
    for narrowed in (Narrowed(status="processing"), Narrowed(model="demo/other")):
        page = await listing.page(caller, narrowed)
        assert [one.prediction.id for one in page.results] == [running.id]
    assert (await listing.page(somebody(uuid4()), Narrowed())).results == []
    for garbage in ("garbage", "", "é", "YWFhYQ"):
        with pytest.raises(InvalidRequest):
            await listing.page(caller, Narrowed(), cursor=garbage)


@pytest.mark.parametrize("whose", [None, "*"], ids=["one's own", "everybody's"])
async def test_what_no_model_has_begun_is_listed_as_starting(
    core: Core, listing: PredictionList, whose: str | None
) -> None:
    caller = Principal(uuid4(), "ada", frozenset({"predict", "admin"}), is_admin=True)
    waiting = accepted(core, user_id=str(caller.user_id))
    held, running = (claimed(core, living_worker(core), user_id=str(caller.user_id)) for _ in range(2))
    begin(core, running)

    async def listed(status: str) -> list[str]:
        page = await listing.page(caller, Narrowed(user=whose, status=status))
        assert {each.prediction.shown_status.value for each in page.results} <= {status}
        return sorted(each.prediction.id for each in page.results)

    assert await listed("starting") == sorted([waiting.id, held.id])
    assert await listed("processing") == [running.id]
    assert await listed("succeeded") == []

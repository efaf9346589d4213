"""What the models that a caller may run are for. Blocks (SQL): use threads."""

from collections.abc import Iterator

from app.services.catalogue.catalogue import Catalogue, ListedModel
from app.services.people.access import Principal

MOST_MODELS = 1_000


def list_runnable(catalogue: Catalogue, principal: Principal) -> Iterator[ListedModel]:
    """The newest models that the caller may see and that have a version, MOST_MODELS at most."""
    cursor: str | None = None
    seen = 0
    while seen < MOST_MODELS:
        page = catalogue.page(principal, cursor=cursor)
        seen += len(page.results)
        yield from (each for each in page.results if each.latest)
        if (cursor := page.next) is None:
            return


def task_of(listed: ListedModel) -> str:
    """What its newest version is for; of one that does not say, its runtime."""
    assert listed.latest
    return listed.latest.task or listed.latest.runtime


def models_by_task(catalogue: Catalogue, principal: Principal) -> dict[str, list[str]]:
    """The models' names, by task."""
    by_task: dict[str, list[str]] = {}
    for listed in list_runnable(catalogue, principal):
        by_task.setdefault(task_of(listed), []).append(listed.model.full_name)
    return dict(sorted(by_task.items()))

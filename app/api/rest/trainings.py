"""Replicate's trainings and collections, as far as its clients ask for them: nothing is trained or collected
here, so the lists are empty, and what would make a training is refused. Knows no service.
"""

from typing import Any, NoReturn

from fastapi import APIRouter, Depends
from pydantic import ConfigDict

from app.api.bodies import CheckedRoute
from app.api.deps import caller_of
from app.api.problems import declared
from app.api.rest.wire import PageOut
from app.domain.errors import InvalidRequest

router = APIRouter(tags=["Models"], dependencies=[Depends(caller_of)], route_class=CheckedRoute)
NOTHING_TRAINED = (
    "Lovage runs models and trains none: train it elsewhere and register the result as a version,"
    " POST /v1/models/{owner}/{name}/versions."
)


class EmptyPageOut(PageOut[dict[str, Any]]):
    """A list with nothing in it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"previous": None, "next": None, "results": []}]}
    )


@router.get(
    "/v1/collections",
    operation_id="collections.list",
    summary="List collections (there are none)",
    responses=declared(401),
)
def list_collections() -> EmptyPageOut:
    """Always empty: models are not collected here."""
    return EmptyPageOut(results=[])


@router.get(
    "/v1/trainings",
    operation_id="trainings.list",
    summary="List trainings (there are none)",
    responses=declared(401),
)
def list_trainings() -> EmptyPageOut:
    """Always empty: nothing is trained here."""
    return EmptyPageOut(results=[])


@router.post(
    "/v1/models/{owner}/{name}/versions/{version}/trainings", include_in_schema=False, response_model=None
)
def refuse_training(owner: str, name: str, version: str) -> NoReturn:
    """Always 422: nothing is trained here."""
    raise InvalidRequest(NOTHING_TRAINED)

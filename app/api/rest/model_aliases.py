"""Other names of models, for whoever knows only one of them: `gpt2` for `openai-community/gpt2`."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import Caller, ServicesDep, note
from app.api.problems import declared

router = APIRouter(tags=["Models"], route_class=CheckedRoute)


class ModelAliasIn(BaseModel):
    """What the name is to stand for."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"model": "openai-community/gpt2"}]}
    )

    model: str = Field(max_length=129, description="`owner/name` of a model that is there.")


class ModelAliasOut(BaseModel):
    """`is_setting`: it is of MODEL_ALIASES, and can only be changed there."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [{"name": "gpt2", "model": "openai-community/gpt2", "is_setting": False}]
        },
    )

    name: str
    model: str
    is_setting: bool


class ModelAliasesOut(BaseModel):
    """All of them, by name."""

    results: list[ModelAliasOut]


@router.get(
    "/v1/model-aliases",
    operation_id="models.aliases.list",
    summary="List other names of models",
    responses=declared(401),
)
def list_aliases(services: ServicesDep, caller: Caller) -> ModelAliasesOut:
    """Those of models that the caller may see."""
    aliases = services.model_names.aliases.list_all(caller)
    return ModelAliasesOut(results=[ModelAliasOut.model_validate(each) for each in aliases])


@router.get(
    "/v1/model-aliases/{name}",
    operation_id="models.aliases.get",
    summary="Get another name of a model",
    responses=declared(401, 404),
)
def get_alias(services: ServicesDep, caller: Caller, name: str) -> ModelAliasOut:
    """What it stands for."""
    return ModelAliasOut.model_validate(services.model_names.aliases.get(caller, name))


@router.put(
    "/v1/model-aliases/{name}",
    operation_id="models.aliases.put",
    summary="Set another name of a model",
    responses=declared(401, 403, 409, 413, 415, 422),
)
def put_alias(
    request: Request, services: ServicesDep, caller: Caller, name: str, body: ModelAliasIn
) -> ModelAliasOut:
    """Wherever a model is named without its owner, this name means that model from now on; other API
    processes know it within seconds. Administrators only."""
    alias = services.model_names.aliases.put(caller, name, body.model)
    note(request, caller, "model_alias.set", name, model=body.model)
    return ModelAliasOut.model_validate(alias)


@router.delete(
    "/v1/model-aliases/{name}",
    operation_id="models.aliases.delete",
    summary="Remove another name of a model",
    status_code=204,
    responses=declared(401, 403, 404, 409),
)
def delete_alias(request: Request, services: ServicesDep, caller: Caller, name: str) -> None:
    """The model stays. Administrators only."""
    services.model_names.aliases.remove(caller, name)
    note(request, caller, "model_alias.removed", name)

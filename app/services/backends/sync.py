"""Registers what a backend serves as models. Blocks (SQL): use threads."""

import re
from dataclasses import dataclass

from app.domain.backends import Backend, ServedModel
from app.domain.errors import Conflict, LovageError
from app.domain.versions import is_name
from app.services.catalogue.catalogue import Catalogue
from app.services.catalogue.model_versions import ModelVersions
from app.services.catalogue.version_request import VersionRequest
from app.services.people.access import Principal

LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class SyncedModel:
    """`model` is `owner/name`; `error`: why it is not registered, "" when it is."""

    upstream: str
    model: str
    task: str
    version: str = ""
    is_new: bool = False
    error: str = ""


def model_name(upstream: str) -> str:
    """The name here of what a backend calls so: `meta-llama/Llama-3-8B` is `llama-3-8b`."""
    last = upstream.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"\.{2,}", ".", re.sub(r"[^a-z0-9._-]+", "-", last))[:LONGEST_NAME].strip("._-")


def sync_models(
    catalogue: Catalogue,
    versions: ModelVersions,
    principal: Principal,
    backend: Backend,
    served: list[ServedModel],
    *,
    owner: str,
    visibility: str,
) -> list[SyncedModel]:
    """A model for each; one that is there gets a version, if what it says is new. One that cannot be
    registered costs the others nothing."""
    synced = []
    for each in served:
        name = model_name(each.name)
        full_name = f"{owner}/{name}"
        try:
            if not is_name(name):
                raise Conflict("Its name has no letters or digits that a model's name may have.")
            request = VersionRequest(source=f"backend:{backend.name}/{each.name}", task=each.task)
            version, is_new = _register(catalogue, versions, principal, owner, name, request, visibility)
            synced.append(SyncedModel(each.name, full_name, each.task, version, is_new))
        except LovageError as error:
            synced.append(SyncedModel(each.name, full_name, each.task, error=error.detail.strip()))
    return synced


def _register(
    catalogue: Catalogue,
    versions: ModelVersions,
    principal: Principal,
    owner: str,
    name: str,
    request: VersionRequest,
    visibility: str,
) -> tuple[str, bool]:
    try:
        created = catalogue.create(principal, owner, name, {"visibility": visibility}, request)
        assert created.latest is not None
        return created.latest.id, True
    except Conflict:
        version = versions.add(principal, owner, name, request)
        catalogue.change(principal, owner, name, {"visibility": visibility})
        return version.id, False

"""Uploading a model: resumable, in parts of a fixed size, from whichever process takes them."""

import tempfile
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from app.api.bodies import CheckedRoute
from app.api.deps import CanModel, ServicesDep, note
from app.api.problems import declared
from app.domain.errors import wrong_field
from app.domain.model_uploads import MOST_FILES, PART_BYTES, UNUSED_HOURS, UploadedModelFile
from app.services.catalogue.model_uploads import UploadProgress

router = APIRouter(tags=["Models"], route_class=CheckedRoute)
parts_router = APIRouter(tags=["Models"])  # their bodies are no JSON
Number = Annotated[int, InPath(ge=0, le=1_000_000)]


class UploadFileIn(BaseModel):
    """A file of the model's folder."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=1_000, description="Relative to the folder, with `/`.")
    size: int = Field(ge=0, le=10**13, description="In bytes.")
    sha256: str = Field(max_length=64, description="Of the whole file, in hex. Workers check it at the load.")


class UploadIn(BaseModel):
    """All files of a model's folder."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"files": [{"name": "config.json", "size": 2, "sha256": "44136fa355b3678a" * 4}]}]
        },
    )

    files: list[UploadFileIn] = Field(max_length=MOST_FILES)


class UploadFileOut(UploadFileIn):
    """`parts`: how many it has; `missing`: the numbers of those that are still to be sent."""

    parts: int
    missing: list[int]


class ModelUploadOut(BaseModel):
    """`source` is what a version says that is made of it, once `is_complete`. Each part has `part_bytes`
    bytes, a file's last one the rest. Without a version it is removed at `expires_at`."""

    id: str
    model: str
    source: str
    bytes: int
    part_bytes: int
    is_complete: bool
    created_at: datetime
    expires_at: datetime
    files: list[UploadFileOut]


def upload_out(progress: UploadProgress) -> ModelUploadOut:
    """The wire object."""
    upload = progress.upload
    files = [
        UploadFileOut(
            name=file.name, size=file.size, sha256=file.sha256, parts=file.parts, missing=list(missing)
        )
        for file, missing in zip(upload.folder, progress.missing, strict=True)
    ]
    return ModelUploadOut(
        id=upload.id,
        model=upload.model,
        source=upload.source,
        bytes=upload.bytes,
        part_bytes=PART_BYTES,
        is_complete=progress.is_complete,
        created_at=upload.created_at,
        expires_at=upload.created_at + timedelta(hours=UNUSED_HOURS),
        files=files,
    )


@router.post(
    "/v1/models/{owner}/{name}/upload",
    operation_id="models.upload",
    summary="Begin to upload a model, or go on",
    responses=declared(401, 403, 409, 413, 415, 422),
)
def begin_upload(
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str, body: UploadIn
) -> ModelUploadOut:
    """The model need not be there yet. The same files for the same model, sent again by you, go on with the
    upload that was begun: `missing` says what is still to be sent. All declared bytes count towards your
    quota at once. When all parts are here, register a version with its `source`."""
    files = [UploadedModelFile(file.name, file.size, file.sha256) for file in body.files]
    progress = services.versions.uploads.begin(caller, owner, name, files)
    note(request, caller, "model.upload_begun", progress.upload.model, upload=progress.upload.id)
    return upload_out(progress)


@router.get(
    "/v1/models/{owner}/{name}/upload/{upload_id}",
    operation_id="models.upload.get",
    summary="See how far an upload is",
    responses=declared(401, 403, 404),
)
def get_upload(
    services: ServicesDep, caller: CanModel, owner: str, name: str, upload_id: str
) -> ModelUploadOut:
    """What is still missing."""
    return upload_out(services.versions.uploads.get(caller, owner, name, upload_id))


@parts_router.put(
    "/v1/models/{owner}/{name}/upload/{upload_id}/{file}/{part}",
    operation_id="models.upload.part",
    summary="Send a part of a model",
    status_code=204,
    responses=declared(401, 403, 404, 413, 415, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {
                    "schema": {"type": "string", "format": "binary"},
                    "example": "(the bytes of the part)",
                }
            },
        }
    },
)
async def put_part(
    request: Request,
    services: ServicesDep,
    caller: CanModel,
    owner: str,
    name: str,
    upload_id: str,
    file: Number,
    part: Number,
) -> None:
    """`file` is its place in the list, `part` a number from 0 on. In any order, several at once, and again
    after a broken connection."""
    size = partial(services.versions.uploads.part_bytes, caller, owner, name, upload_id, file, part)
    expected = await run_sync(size)
    with tempfile.NamedTemporaryFile(prefix="lovage-part-") as copy:
        async for block in request.stream():
            copy.write(block)
        copy.flush()
        if copy.tell() != expected:
            raise wrong_field("body", f"must be this part's {expected} bytes; {copy.tell()} came")
        await run_sync(services.versions.uploads.put_part, upload_id, file, part, Path(copy.name))


@router.delete(
    "/v1/models/{owner}/{name}/upload/{upload_id}",
    operation_id="models.upload.delete",
    summary="Remove an upload",
    status_code=204,
    responses=declared(401, 403, 404, 409),
)
def delete_upload(
    request: Request, services: ServicesDep, caller: CanModel, owner: str, name: str, upload_id: str
) -> None:
    """With all that was sent. Not while a version is made of it: 409."""
    services.versions.uploads.remove(caller, owner, name, upload_id)
    note(request, caller, "model.upload_removed", f"{owner}/{name}", upload=upload_id)


router.routes.extend(parts_router.routes)

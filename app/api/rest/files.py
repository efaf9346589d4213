"""Files: upload (multipart), list, get, delete, and the bytes behind signed URLs."""

import re
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.responses import JSONResponse, Response, StreamingResponse

from app.api.bodies import parse_json, refuse_unknown
from app.api.deps import (
    CanPredict,
    Cursor,
    IdempotencyKey,
    Limit,
    Services,
    ServicesDep,
    base_url,
    limited_by_address,
    note,
)
from app.api.error_shapes import is_openai_client
from app.api.headers import byte_range, is_utf8_form
from app.api.problems import declared
from app.api.rest.openai_files import (
    OpenAIDeletedOut,
    OpenAIFilesOut,
    details_of,
    openai_file,
    part_of,
)
from app.api.rest.wire import PageOut, page_out
from app.domain.errors import InvalidRequest, wrong_field
from app.domain.files import UploadedFile
from app.services.files.files import Content
from app.services.people.access import Principal

router = APIRouter(tags=["Files"])

METADATA_LIMIT = 64_000
MOST_LISTED = 10_000  # files in the one list that OpenAI's clients read
# Shown in a browser; everything else is saved instead, because HTML or SVG could act in our name.
SHOWN = re.compile(r"(image/(png|jpeg|webp|gif)|audio/[\w.+-]+|video/[\w.+-]+|text/plain|application/json)\Z")

UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["content"],
                    "properties": {
                        "content": {"type": "string", "format": "binary", "description": "The file."},
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "The same as OpenAI's clients name it.",
                        },
                        "purpose": {"type": "string", "description": "Kept, of OpenAI's clients."},
                        "metadata": {
                            "type": "string",
                            "description": "A JSON object, as text or as a JSON part.",
                        },
                        "filename": {"type": "string", "description": "Instead of the part's own file name."},
                        "type": {"type": "string", "description": "Instead of the part's own content type."},
                    },
                },
                "example": {
                    "content": "hello",
                    "metadata": '{"from": "ada"}',
                    "filename": "hello.txt",
                    "type": "text/plain",
                },
            }
        },
    }
}

# The first is true; the second is for generators of clients, which read no answer of any type.
OCTETS = {"*/*": {}, "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
BYTES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes, of the file's own content type.", "content": OCTETS},
    206: {"description": "The range that was asked for.", "content": OCTETS},
}


class FileOut(BaseModel):
    """An uploaded file. `urls.get` may stand wherever a model takes a file."""

    id: str
    name: str
    content_type: str
    size: int
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, Any]
    created_at: datetime
    expires_at: datetime | None
    urls: dict[str, str]


def file_out(file: UploadedFile, base: str) -> FileOut:
    """The wire object of a file; `base` is the API's URL."""
    own = f"{base}/v1/files/{file.id}"
    return FileOut(
        id=file.id,
        name=file.name,
        content_type=file.content_type,
        size=file.size,
        etag=file.md5,
        checksums={"sha256": file.sha256, "md5": file.md5},
        metadata=file.details,
        created_at=file.created_at,
        expires_at=file.expires_at,
        urls={"get": own, "content": f"{own}/content"},
    )


@router.post(
    "/v1/files",
    operation_id="files.create",
    summary="Upload a file",
    status_code=201,
    response_model=FileOut,
    responses=declared(400, 401, 403, 410, 413, 415, 422),
    openapi_extra=UPLOAD,
)
async def create_file(
    request: Request, services: ServicesDep, caller: CanPredict, key: IdempotencyKey
) -> FileOut | Response:
    """One file in the part `content`, and what you want to remember of it in `metadata`; or as OpenAI's
    clients send it, in `file` with a `purpose`, which are answered as they read it."""
    caller.need_user()
    sent_as = request.headers.get("content-type", "").lower()
    if not sent_as.startswith("multipart/form-data"):
        raise wrong_field("content", "must be sent as multipart/form-data")
    if not is_utf8_form(sent_as):
        raise wrong_field("content", "must be sent with its texts in UTF-8")
    async with request.form(max_files=2, max_fields=8) as form:
        content = part_of(form)
        if not isinstance(content, UploadFile):
            raise wrong_field("content", "is required, as a file part")
        name = _text(form, "filename") or content.filename or "file"
        kind = _text(form, "type") or content.content_type or "application/octet-stream"
        details = {**details_of(form), **await _metadata(form)}
        file = await run_sync(services.files.upload, caller, content.file, name, kind, details, key)
    if is_openai_client(request.scope):
        return JSONResponse(openai_file(file).model_dump())
    return file_out(file, base_url(request))


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) else None


async def _metadata(form: FormData) -> dict[str, Any]:
    """One client sends text, another a part with a file name."""
    part = form.get("metadata")
    content = await part.read(METADATA_LIMIT + 1) if isinstance(part, UploadFile) else (part or "").encode()
    if not content:
        return {}
    if len(content) > METADATA_LIMIT:
        raise wrong_field("metadata", f"may have at most {METADATA_LIMIT} bytes")
    try:
        details = parse_json(content)
    except InvalidRequest as error:
        raise wrong_field("metadata", error.detail.rstrip(".")) from None
    if not isinstance(details, dict):
        raise wrong_field("metadata", "must be a JSON object")
    return details


@router.get(
    "/v1/files",
    operation_id="files.list",
    summary="List your files",
    response_model=PageOut[FileOut],
    responses=declared(401, 403, 422),
)
def list_files(
    request: Request, services: ServicesDep, caller: CanPredict, cursor: Cursor = None, limit: Limit = 100
) -> PageOut[FileOut] | Response:
    """Your files, newest first. OpenAI's clients get all of them (10,000 at most), as they read them."""
    if is_openai_client(request.scope):
        return JSONResponse(_all_for_openai(request, services, caller).model_dump())
    refuse_unknown(request, ("cursor", "limit"))
    base, page = base_url(request), services.files.page(caller, cursor=cursor, limit=limit)
    return page_out(request, page.map(lambda file: file_out(file, base)))


def _all_for_openai(request: Request, services: Services, caller: Principal) -> OpenAIFilesOut:
    purpose = request.query_params.get("purpose")
    files: list[UploadedFile] = []
    cursor: str | None = None
    while len(files) < MOST_LISTED:
        page = services.files.page(caller, cursor=cursor, limit=100)
        files += page.results
        if (cursor := page.next) is None:
            break
    shown = map(openai_file, files[:MOST_LISTED])
    return OpenAIFilesOut(data=[file for file in shown if purpose in (None, "", file.purpose)])


@router.get(
    "/v1/files/content/{key:path}",
    operation_id="files.content",
    summary="Read a file by its signed URL",
    response_class=Response,
    responses={**BYTES, **declared(404, 410, 422)},
    openapi_extra={"security": []},
)
async def signed_content(
    request: Request,
    services: ServicesDep,
    key: str,
    expires: Annotated[int, Query(ge=0, le=10**11)],
    signature: Annotated[str, Query(max_length=200)],
    filename: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """The signature is the right to read; no other credential is needed. One byte range may be asked for."""
    whole = await run_sync(services.files.open_signed, key, expires, signature)
    part = byte_range(request.headers.get("range"), whole.size)
    content = await run_sync(services.files.open_signed, key, expires, signature, part) if part else whole
    return _send(content, part, filename or key.rsplit("/", 1)[-1])


def _send(content: Content, part: tuple[int, int] | None, name: str) -> Response:
    how = "inline" if SHOWN.match(content.content_type) else "attachment"
    first, last = part or (0, content.size - 1)
    headers = {
        "Content-Length": str(last - first + 1),
        "Content-Disposition": f"{how}; filename*=UTF-8''{quote(name, safe='')}",
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, max-age=3600",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if part:
        headers["Content-Range"] = f"bytes {first}-{last}/{content.size}"
    status = 206 if part else 200
    response = StreamingResponse(content.blocks, status, headers)
    response.headers["Content-Type"] = content.content_type
    return response


@router.get(
    "/v1/files/{file_id}",
    operation_id="files.get",
    summary="Get a file",
    response_model=FileOut,
    responses=declared(401, 403, 404),
)
def get_file(request: Request, services: ServicesDep, caller: CanPredict, file_id: str) -> FileOut | Response:
    """What is known of a file; its bytes are at `urls.content`."""
    file = services.files.get(caller, file_id)
    if is_openai_client(request.scope):
        return JSONResponse(openai_file(file).model_dump())
    return file_out(file, base_url(request))


@router.get(
    "/v1/files/{file_id}/content",
    operation_id="files.read",
    summary="Read your file",
    response_class=Response,
    responses={**BYTES, **declared(401, 403, 404, 410)},
)
async def read_file(request: Request, services: ServicesDep, caller: CanPredict, file_id: str) -> Response:
    """The bytes of your own file. One byte range may be asked for."""
    file = await run_sync(services.files.get, caller, file_id)
    part = byte_range(request.headers.get("range"), file.size)
    return _send(await run_sync(services.files.open, file, part), part, file.name)


@router.get(
    "/v1/files/{file_id}/download",
    operation_id="files.download",
    summary="Read a file by its owner's signature",
    response_class=Response,
    responses={**BYTES, **declared(404, 410, 422)},
    openapi_extra={"security": []},
    dependencies=[Depends(limited_by_address)],
)
async def download_file(
    services: ServicesDep,
    file_id: str,
    expiry: Annotated[int, Query(ge=0, le=10**11, description="Unix seconds.")],
    owner: Annotated[str, Query(max_length=64, description="Username of the file's owner.")],
    signature: Annotated[
        str, Query(max_length=100, description="Base64 of HMAC-SHA256 over `{owner} {id} {expiry}`.")
    ],
) -> Response:
    """The owner's signature is the right to read, so that a link can be handed on. Its key is the owner's key
    for links to files (`GET /v1/account/file-key`), `lfk_` included."""
    file, content = await run_sync(services.files.open_shared, file_id, owner, expiry, signature)
    return _send(content, None, file.name)


@router.delete(
    "/v1/files/{file_id}",
    operation_id="files.delete",
    summary="Delete a file",
    status_code=204,
    response_model=None,
    responses=declared(401, 403, 404),
)
def delete_file(request: Request, services: ServicesDep, caller: CanPredict, file_id: str) -> Response | None:
    """Deletes a file now; without this it goes after FILE_RETENTION_HOURS."""
    services.files.remove(caller, file_id)
    note(request, caller, "file.deleted", file_id)
    is_openai = is_openai_client(request.scope)
    return JSONResponse(OpenAIDeletedOut(id=file_id).model_dump()) if is_openai else None

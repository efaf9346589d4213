"""The app's files: one page for every address of the app, and what it loads. Knows nothing of predictions:
the page asks the public API, so there is nothing to protect here.

The files are built from `web/` and committed; nothing here or in them is loaded from another host.
"""

import gzip
import hashlib
import html
import json
import mimetypes
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from app.api.deps import Services, services_of
from app.api.proxies import PREFIX
from app.domain.errors import NotFound

router = APIRouter()

STATIC = Path(__file__).parent / "static"
FIXED = ("icon.svg", "geist.woff2", "geist-mono.woff2")
ENTRIES = ("app.js", "app.css")  # what the page itself names; the rest is named by files of the same build
BUILD = "build.json"
# What the browser's address may begin with; the app itself says what is not there.
ADDRESSES = [
    "models",
    "predictions",
    "p",
    "errors",
    "fleet",
    "backends",
    "webhooks",
    "files",
    "keys",
    "usage",
    "settings",
    "admin",
    "sign-in",
]
# The file of a page by its address, as `web/src/pages` has them.
PAGE_FILES = (
    (re.compile(r"^$"), "home"),
    (re.compile(r"^models/new$"), "new-model"),
    (re.compile(r"^models/[^/]+/[^/]+$"), "model"),
    (re.compile(r"^p/[^/]+$"), "prediction"),
    (re.compile(r"^([a-z-]+)$"), r"\1"),
)
MODEL_ADDRESS = re.compile(r"^models/[\w.-]+/[\w.-]+$", re.ASCII)
YEAR, DAY = "public, max-age=31536000, immutable", "public, max-age=86400"
PROBE = "probe"  # a name whose signed URL says on which host files lie
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:{files}; media-src 'self' data: blob:{files}; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the app as it is sent; `tag` is its content's hash."""

    content: bytes
    gzipped: bytes
    kind: str
    tag: str


@dataclass(frozen=True, slots=True)
class Build:
    """What the committed files are: `tag` is in each one's address, `pages` the scripts that each page needs,
    those of all under ""."""

    tag: str
    pages: dict[str, tuple[str, ...]]
    scripts: frozenset[str]


def read_file(name: str) -> StaticFile:
    """A file of the build; read and packed again only after it was written again."""
    return _read(name, (STATIC / name).stat().st_mtime_ns)


@lru_cache(maxsize=128)
def _read(name: str, written: int) -> StaticFile:
    content = (STATIC / name).read_bytes()
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(content, 9, mtime=0)
    return StaticFile(content, packed, kind, hashlib.sha256(content).hexdigest()[:16])


def read_build() -> Build:
    """The build that is served now."""
    return _read_build((STATIC / BUILD).stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read_build(written: int) -> Build:
    content = json.loads((STATIC / BUILD).read_text("utf-8"))
    pages = {name: tuple(files) for name, files in content["pages"].items()}
    return Build(content["tag"], pages, frozenset(file for files in pages.values() for file in files))


class PageRoute(Route):
    """Matches only browsers that ask for a page, so that `/` stays JSON for everybody else."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or not wants_page(scope):
            return Match.NONE, {}
        return super().matches(scope)


def wants_page(scope: Scope) -> bool:
    """Whether the first thing that an `Accept` names is HTML: browsers do, clients of the API do not."""
    accept = next((value for name, value in scope["headers"] if name == b"accept"), b"")
    return bool(accept.lstrip().lower().startswith((b"text/html", b"application/xhtml")))


def base_path(request: Request) -> str:
    """The path that the app lies below, with a slash at its end."""
    public = services_of(request).options.public_url
    prefix: str = urlsplit(public).path if public else request.scope.get(PREFIX, "")
    return prefix.rstrip("/") + "/"


def page_headers(services: Services) -> dict[str, str]:
    """What a page is sent with. Files that lie on another host may be shown from there, and from nowhere
    else."""
    files = urlsplit(services.storage.url(PROBE, 60, ""))
    origin = f" {files.scheme}://{files.netloc}" if files.netloc else ""
    return {
        "Content-Security-Policy": POLICY.format(files=origin),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-cache",
        "Vary": "Accept",
    }


def early_links(path: str, build: Build) -> str:
    """What the page at this path asks for first, so that the browser begins before its script runs. Only
    what is certain to be asked for: browsers complain of anything else."""
    candidates = (match.expand(name) for address, name in PAGE_FILES if (match := address.match(path)))
    page = next((name for name in candidates if name in build.pages), "")
    scripts = dict.fromkeys((*build.pages[""], *build.pages.get(page, ())))
    links = [f'<link rel="modulepreload" href="assets/{name}?v={build.tag}">' for name in scripts]
    calls = ["session", f"v1/{path}"] if page == "model" and MODEL_ADDRESS.match(path) else ["session"]
    links += [f'<link rel="preload" as="fetch" href="{call}" crossorigin>' for call in calls]
    return "\n    ".join(links)


async def show_page(request: Request) -> Response:
    """The same page for every address; its script reads the address."""
    text = (STATIC / "index.html").read_text("utf-8")
    text = text.replace("{{base}}", html.escape(base_path(request)))
    text = text.replace("<!-- early -->", early_links(request.scope["path"].strip("/"), read_build()))
    return Response(text, media_type="text/html", headers=page_headers(services_of(request)))


@router.get("/assets/{name}", include_in_schema=False)
async def asset(request: Request, name: str) -> Response:
    """A file of the app. With the tag of the build that is served now it may be kept for ever. A script of
    another build is not here: a page that is older than the server must not run half of each."""
    build, requested = read_build(), request.query_params.get("v")
    if name not in (*FIXED, *ENTRIES) and (name not in build.scripts or requested not in (None, build.tag)):
        raise NotFound("There is nothing at this address.")
    file = read_file(name)
    tag = f'"{file.tag}"'
    headers = {
        "ETag": tag,
        "Cache-Control": YEAR if requested == build.tag else DAY if name in FIXED else "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", "") and file.kind != "font/woff2":
        return Response(file.gzipped, media_type=file.kind, headers={**headers, "Content-Encoding": "gzip"})
    return Response(file.content, media_type=file.kind, headers=headers)


router.routes.append(PageRoute("/", show_page))
for address in ADDRESSES:
    router.routes.append(PageRoute(f"/{address}", show_page))
    router.routes.append(PageRoute(f"/{address}/{{rest:path}}", show_page))

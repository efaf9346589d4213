"""Builds the API process: the routes, the errors, the OpenAPI document, around the services that
`composition` puts together.

No model library is ever imported here.
"""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app import __version__, composition
from app import settings as settings_module
from app.api import openapi, problems
from app.api.access_log import AccessLines
from app.api.answered import AnsweredRequests, OnAnswered
from app.api.anthropic import messages
from app.api.mcp.route import McpRoutes
from app.api.metrics import count
from app.api.middleware import RequestBounds
from app.api.oip import infer as oip_infer
from app.api.oip import models as oip_models
from app.api.oip import texts as oip_texts
from app.api.oip.wire import InferIn
from app.api.ollama import embeddings as ollama_embeddings
from app.api.ollama import models as ollama_models
from app.api.ollama import texts as ollama_texts
from app.api.openai import (
    audio,
    embeddings,
    image_edits,
    images,
    moderations,
    responses,
    speech,
    text,
)
from app.api.proxies import DocsBelowPrefix, TrustedProxies
from app.api.rerank import rerank, score
from app.api.rest import (
    accounts,
    audit,
    backends,
    bulk,
    credentials,
    deployments,
    files,
    history,
    metrics,
    model_aliases,
    model_uploads,
    models,
    peers,
    platform,
    prediction_lists,
    predictions,
    queues,
    runtimes,
    serving,
    statistics,
    stats,
    streams,
    trainings,
    users,
    version_tags,
    versions,
    webhooks,
    worker_sessions,
)
from app.api.server import Leaving
from app.api.tei import embeddings as tei_embeddings
from app.api.tei import predict as tei_predict
from app.api.tracing import TraceRequests, end_span
from app.api.web import pages, session
from app.api.web.session_cookie import SessionCookie, cookie_name
from app.api.websocket import route as websocket
from app.observe.access_log import AccessLog
from app.services.platform.storage_identity import establish_when_possible
from app.settings import Settings

log = structlog.get_logger(__name__)

# The busiest routes first: Starlette tries them in order.
ROUTERS = (
    predictions,
    prediction_lists,
    streams,
    files,
    webhooks,
    history,
    models,
    versions,
    model_uploads,
    version_tags,
    model_aliases,
    deployments,
    trainings,
    serving,
    worker_sessions,
    runtimes,
    stats,
    statistics,
    bulk,
    queues,
    text,
    embeddings,
    images,
    image_edits,
    responses,
    audio,
    speech,
    moderations,
    messages,
    ollama_texts,
    ollama_embeddings,
    ollama_models,
    rerank,
    score,
    tei_embeddings,
    tei_predict,
    oip_infer,
    oip_texts,
    oip_models,  # last of them: its addresses end with a model's name
    accounts,
    credentials,
    users,
    audit,
    backends,
    peers,
    session,
    pages,  # before the index, whose address is theirs for browsers
    platform,
    metrics,
)
# What is not there when a feature is off, by where its routes are.
FEATURES = {
    "app.api.openai.": "openai",
    "app.api.web.": "web",
    "app.api.websocket.": "websocket",
    "app.api.rest.backends": "backends",
    "app.api.rest.peers": "p2p",
}


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    settings: Settings = app.state.settings
    # Plain `def` routes and blocking calls run in anyio's threads; they share the connection pool with the
    # hot path.
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.api_threads
    api = await composition.open_api(settings)
    app.state.api, app.state.services = api, api.services
    app.state.leaving.hurry = api.services.follower.leave
    checking = asyncio.create_task(establish_when_possible(api.core.storage_identity, api.threads))
    if app.state.access_log:
        app.state.access_log.start()
    stack = AsyncExitStack()
    if app.state.mcp:
        await stack.enter_async_context(app.state.mcp.run())
    gc.freeze()  # what is loaded now stays: looking through all of it for garbage took 90 ms each time
    try:
        yield {"leaving": app.state.leaving, "services": api.services}
    finally:
        checking.cancel()
        await stack.aclose()
        await api.close()
        if app.state.access_log:
            app.state.access_log.close()


def create_app(settings: Settings) -> FastAPI:
    """The API as an ASGI application. Nothing is connected before its lifespan begins."""
    app = FastAPIOffline(  # /docs and /redoc work without any CDN
        title="Lovage",
        version=__version__,
        summary="A prediction platform for machine-learning models.",
        description=(Path(__file__).parent / "api" / "description.md").read_text("utf-8"),
        license_info={"name": "MIT"},
        lifespan=_lifespan,
        openapi_tags=openapi.TAGS,
        # FastAPI's own asks at each request whether it is on; spans are made by hand (app/api/tracing.py).
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,  # a redirect would repeat the Host header, which the caller chooses
    )
    app.state.settings = settings
    app.state.leaving = Leaving()
    has_access_log = settings.access_log and settings.log_level in ("debug", "info")
    app.state.access_log = AccessLog(settings.log_format) if has_access_log else None
    app.state.cookie_name = cookie_name(settings.secret_key)
    # Not by FastAPI's `include_router`, which looks for the route of each request twice.
    for module in (*ROUTERS, websocket):
        if settings.features.get(feature_of(module), True):
            app.router.routes.extend(module.router.routes)
    app.state.mcp = _open_mcp(settings)
    app.state.features = settings.features | {"mcp": app.state.mcp is not None}
    if app.state.mcp:
        app.router.routes.extend(app.state.mcp.routes)
    problems.install(app)
    openapi.install(app, predictions.PredictionIn, predictions.ModelPredictionIn, InferIn)
    _add_middleware(app, settings)
    return app


def feature_of(module: ModuleType) -> str:
    """The feature that a module's routes are a part of; "" for what is always there."""
    return next((feature for start, feature in FEATURES.items() if module.__name__.startswith(start)), "")


def _open_mcp(settings: Settings) -> McpRoutes | None:
    """Without the SDK, which the first call imports, one sentence says so."""
    if not settings.enable_mcp:
        return None
    if find_spec("mcp") is None:
        log.warning("mcp_is_off", reason="its library is not installed: pip install 'lovage[mcp]'")
        return None
    return McpRoutes(settings.models_as_tools, settings.origins, settings.max_body_bytes)


def _add_middleware(app: FastAPI, settings: Settings) -> None:
    """The last one added is the outermost."""
    listeners: list[OnAnswered] = []
    app.add_middleware(SessionCookie, name=app.state.cookie_name)
    app.add_middleware(
        RequestBounds,
        max_body=settings.max_body_bytes,
        max_upload=settings.max_upload_bytes,
        leaving=app.state.leaving,
    )
    if settings.origins:
        exposed = ["Location", "Preference-Applied", "X-Request-Id", "Retry-After", "ETag"]
        exposed += ["Ignored-Fields", "Link"]
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=exposed,
        )
    if settings.otel_exporter_otlp_endpoint:
        app.add_middleware(TraceRequests)
        listeners.append(end_span)
    if settings.metrics:
        listeners.append(count)
    if app.state.access_log:
        listeners.append(AccessLines(app.state.access_log).add)
    if listeners:
        app.add_middleware(AnsweredRequests, listeners=listeners)
    public_path = urlsplit(settings.public_url).path.rstrip("/")
    if public_path or settings.trusted_proxies:
        app.add_middleware(DocsBelowPrefix, public_path=public_path)
    if settings.trusted_proxies:
        app.add_middleware(TrustedProxies, trusted_hosts=settings.trusted_proxies)


def build() -> FastAPI:
    """For `uvicorn --factory app.main:build`: the settings come from the environment."""
    return create_app(settings_module.load())

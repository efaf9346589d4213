"""Builds the API process: one container of services, the routes, the errors, the OpenAPI document.

The only module that knows both the web and the settings' use. No model library is ever imported here.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.middleware.cors import CORSMiddleware

from app import __version__
from app import settings as settings_module
from app.api import openapi, problems
from app.api.counting import RequestCounts
from app.api.deps import Services
from app.api.middleware import RequestBounds
from app.api.openai import embeddings, images, text
from app.api.rest import (
    accounts,
    audit,
    deployments,
    files,
    metrics,
    models,
    pages,
    platform,
    predictions,
    runtimes,
    serving,
    stats,
    streams,
    users,
    webhooks,
)
from app.api.server import Leaving
from app.api.websocket import route as websocket
from app.runtimes.demo import package_roots
from app.services import limits
from app.services.access import Access
from app.services.accounts import Accounts
from app.services.assembly import Assembly
from app.services.audit import Audit
from app.services.catalogue import Catalogue
from app.services.data_removal import DataRemoval
from app.services.delivery_log import DeliveryLog
from app.services.deployments import Deployments
from app.services.files import Files
from app.services.gauges import ApiMetrics
from app.services.health import Health
from app.services.limits import RateLimits
from app.services.runnable import Runnables
from app.services.runtime_index import RuntimeIndex
from app.services.sources import SourceReader
from app.services.tokens import TokenSigner
from app.services.topics import Topics
from app.services.version_maker import VersionMaker
from app.services.version_stats import VersionStats
from app.settings import Settings

# The busiest routes first: Starlette tries them in order.
ROUTERS = (
    predictions, streams, files, webhooks, models, deployments, serving, runtimes, stats, text, embeddings, images, accounts,
    users, audit, platform, metrics, pages,
)  # fmt: skip


def source_reader(settings: Settings) -> SourceReader:
    """Where `path:` sources may point: the model roots, and installed packages that carry a model."""
    return SourceReader([*settings.model_root_folders, *package_roots()], settings.hf_endpoint, settings.hf_token)


def doors(assembly: Assembly) -> tuple[Access, Accounts]:
    """Who may come in, and how accounts are made and signed in to."""
    settings, database = assembly.core.settings, assembly.core.database
    signer = TokenSigner(settings.secret_key, settings.access_token_minutes * 60)
    access = Access(
        database,
        signer,
        assembly.threads,
        cache_seconds=settings.principal_cache_seconds,
        allow_anonymous=settings.allow_anonymous,
    )
    tries = limits.tries(settings.redis_url, limits.parsed(settings.rate_limit_logins))
    return access, Accounts(database, signer, access, tries, allow_registration=settings.allow_registration)


def rate_limits(settings: Settings) -> RateLimits:
    """The limits of calls, by what they count."""
    wanted = {"creates": settings.rate_limit_creates, "calls": settings.rate_limit_calls, "key": settings.rate_limit_key}
    return RateLimits(limits.Windows(settings.redis_url), {name: limits.parsed(text) for name, text in wanted.items()})


def build_services(assembly: Assembly) -> Services:
    """The API's own services around the assembly's."""
    core = assembly.core
    settings, database = core.settings, core.database
    access, accounts = doors(assembly)
    runnables = Runnables(database, assembly.threads, settings.principal_cache_seconds)
    maker = VersionMaker(database, source_reader(settings), settings.trusted_code)
    health = Health(database, settings.redis_url, settings.dead_after_seconds)
    catalogue = Catalogue(database, maker, runnables.forget)
    topics = Topics(assembly.reader, health, assembly.line, assembly.threads)
    return Services(
        settings=settings,
        assembly=assembly,
        access=access,
        accounts=accounts,
        catalogue=catalogue,
        runnables=runnables,
        deployments=Deployments(database),
        files=Files(
            database,
            core.storage,
            settings.secret_key,
            max_bytes=settings.max_upload_bytes,
            retention_hours=settings.file_retention_hours,
        ),
        deliveries=DeliveryLog(database, core.announcer),
        health=health,
        removal=DataRemoval(core.lifecycle, core.storage),
        limits=rate_limits(settings),
        audit=Audit(database, assembly.threads),
        topics=topics,
        stats=VersionStats(database, catalogue),
        runtimes=RuntimeIndex(database),
        metrics=ApiMetrics(database, assembly.reader, topics, core.publisher, settings.dead_after_seconds),
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[dict[str, Leaving]]:
    settings: Settings = app.state.settings
    # Plain `def` routes and blocking calls run in anyio's threads; they share the connection pool with the hot path.
    anyio.to_thread.current_default_thread_limiter().total_tokens = settings.api_threads
    assembly = await Assembly.open(settings)
    services = app.state.services = build_services(assembly)
    app.state.leaving.hurry = assembly.follower.leave
    gc.freeze()  # what is loaded now stays: looking through all of it for garbage took 90 ms each time
    try:
        yield {"leaving": app.state.leaving}
    finally:
        services.topics.close()
        services.limits.close()
        await services.access.close()
        services.health.close()
        await assembly.close()


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
        redirect_slashes=False,  # a redirect would repeat the Host header, which is the caller's word
    )
    app.state.settings = settings
    app.state.leaving = Leaving()
    for module in (*ROUTERS, websocket):  # as they are: FastAPI's `include_router` looks for the route of each request twice
        app.router.routes.extend(module.router.routes)
    problems.install(app)
    openapi.install(app)
    app.add_middleware(
        RequestBounds, max_body=settings.max_body_bytes, max_upload=settings.max_upload_bytes, leaving=app.state.leaving
    )
    if settings.origins:
        exposed = ["Location", "Preference-Applied", "X-Request-Id", "Retry-After"]
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"], expose_headers=exposed
        )
    if settings.metrics:
        app.add_middleware(RequestCounts)  # the last one added is the outermost
    return app


def build() -> FastAPI:
    """For `uvicorn --factory app.main:build`: the settings come from the environment."""
    return create_app(settings_module.load())

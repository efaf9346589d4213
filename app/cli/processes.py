"""Commands that are one process of the platform each: api, worker, clock, flower, migrate, bootstrap."""

import signal
import ssl
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.connection import EXIT_USAGE, JSON, show_outcome, stop
from app.domain.errors import StorageFailed, Unavailable
from app.settings import Settings, load

if TYPE_CHECKING:
    from app.worker.process import AcceleratorWorker, CourierProcess

CLOCK_SILENCE_SECONDS = 15.0  # after which a clock is not ready: Redis takes no sweeps
PANEL = "Processes (what `lovage up` and the containers start)"


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (api, clock, flower, migrate, bootstrap, storage):
        app.command(rich_help_panel=PANEL)(command)


def _settings() -> Settings:
    from app.observe import log_level, logs

    settings = load()
    logs.configure(settings.log_format, settings.log_level)
    log_level.switch_on_signal(settings.log_level)
    for name in ("database_url", "redis_url"):
        if not getattr(settings, name):
            print(
                f"lovage: {name.upper()} is not set; `lovage up` starts everything with embedded servers",
                file=sys.stderr,
            )
            sys.exit(2)
    return settings


def _log_to_file(settings: Settings) -> None:
    """From now on, where LOG_FILE says so: what keeps a process from starting is said on the terminal."""
    from app.local.log_file import redirect_errors

    if not settings.log_file:
        return
    try:
        redirect_errors(Path(settings.log_file), settings.log_file_bytes, settings.log_file_days)
    except OSError as error:
        stop(f"LOG_FILE {settings.log_file}: cannot be written: {error.strerror}", EXIT_USAGE)


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on (API_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (API_PORT).")] = None,
) -> None:
    """Serve the HTTP API."""
    import uvicorn

    from app.api.middleware import MODEL_BODY
    from app.api.protocol import BoundedHttp
    from app.api.server import LAST_SECONDS, Server

    settings = _settings()
    check_tls(settings.tls_cert_file, settings.tls_key_file)
    _check_storage(settings)
    config = uvicorn.Config(
        "app.main:build",
        factory=True,
        host=host or settings.api_host,
        port=port or settings.api_port,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        log_config=None,
        access_log=False,
        http=BoundedHttp,
        proxy_headers=False,  # what TRUSTED_PROXIES say is read by app/api/proxies.py
        server_header=False,
        ws_max_size=min(settings.max_body_bytes, MODEL_BODY),
        timeout_graceful_shutdown=LAST_SECONDS,
        timeout_keep_alive=75,
    )
    server = Server(config, settings.api_drain_seconds)
    _log_to_file(settings)
    server.run()
    if not server.started:
        sys.exit(3)


def check_tls(certificate: Path | None, key: Path | None) -> None:
    """Ends the command with a sentence where the two cannot be used."""
    if certificate is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        stop(f"TLS_CERT_FILE {certificate}, TLS_KEY_FILE {key}: cannot be used: {reason}", EXIT_USAGE)


def _check_storage(settings: Settings) -> None:
    """Before an API process serves. Raises WrongStorage; what cannot be reached now is checked later."""
    from app.composition_core import open_core

    core = open_core(settings, application="lovage-api", pool=1, fail_fast=True)
    try:
        with suppress(Unavailable, StorageFailed):
            core.storage_identity.establish()
    finally:
        core.close()


def worker(
    context: typer.Context,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda:0, mps … (DEVICE).")] = None,
    name: Annotated[
        str, typer.Option(help="Distinguishes several workers of one device on one machine.")
    ] = "",
    courier: Annotated[
        bool, typer.Option("--courier", help="Deliver webhooks instead of running models.")
    ] = False,
    backends: Annotated[
        bool,
        typer.Option("--backends", help="Call backends instead of running models; waits until there is one."),
    ] = False,
) -> None:
    """Run predictions on one accelerator or at backends, or deliver webhooks; with a command, see and drain
    workers."""
    if context.invoked_subcommand:
        return
    settings = _settings()
    if backends:
        if not settings.enable_backends:
            stop("ENABLE_BACKENDS is off: there is no gateway worker.", EXIT_USAGE)
        _await_backends(settings.database_url)
    from app import composition_worker as composition
    from app.broker.celery_worker import serve

    process: AcceleratorWorker | CourierProcess
    if courier:
        process = composition.build_courier(settings)
    elif backends:
        process = composition.build_gateway(settings, name)
    else:
        process = composition.build_worker(settings, device or settings.device, name)
    _log_to_file(settings)
    process.start()
    serve(process.celery, process.queues, process.hostname, process.drain, settings.log_level)


def _await_backends(url: str) -> None:
    """Returns when a backend is registered: until then a process that calls them needs no more than this."""
    from app.db.first_backend import await_first_backend

    given_up = threading.Event()
    former = signal.signal(signal.SIGTERM, lambda *_: given_up.set())
    is_needed = await_first_backend(url, given_up)
    signal.signal(signal.SIGTERM, former)
    if not is_needed:
        sys.exit(0)


def clock() -> None:
    """Send the sweeps on time (Celery beat). One is enough, more are harmless."""
    from app.broker.celery_clock import serve_clock
    from app.observe.metrics import EVERYWHERE, Exposition
    from app.worker.health import HealthOptions, HealthPort, Pulse

    settings = _settings()
    pulse = Pulse(max(CLOCK_SILENCE_SECONDS, settings.sweep_seconds * 3))
    port = (settings.health_host, settings.health_port)
    health = HealthPort(
        HealthOptions(*port, settings.metrics, settings.metrics_token), Exposition(EVERYWHERE), pulse.is_fresh
    )
    _log_to_file(settings)
    health.start()
    serve_clock(
        settings.redis_url,
        sweep_seconds=settings.sweep_seconds,
        log_level=settings.log_level,
        on_published=pulse.beat,
    )


def flower(port: Annotated[int | None, typer.Option(help="Port to listen on (FLOWER_PORT).")] = None) -> None:
    """Serve Flower, Celery's dashboard, behind FLOWER_BASIC_AUTH."""
    from app.broker.flower import serve_flower

    settings = _settings()
    if ":" not in settings.flower_basic_auth:
        print(
            "lovage: FLOWER_BASIC_AUTH must be user:password; Flower is never served without a login",
            file=sys.stderr,
        )
        sys.exit(2)
    _log_to_file(settings)
    serve_flower(
        settings.redis_url,
        address=settings.flower_address,
        port=port or settings.flower_port,
        basic_auth=settings.flower_basic_auth,
    )


def migrate(
    revision: Annotated[
        str, typer.Argument(help="Up to this revision; `base` with --down undoes everything.")
    ] = "head",
    down: Annotated[bool, typer.Option("--down", help="Migrate down to the revision instead of up.")] = False,
) -> None:
    """Bring the database to the newest schema."""
    from app.db import migrate as migrations

    settings = load()
    (migrations.downgrade if down else migrations.upgrade)(settings.database_url, revision)


def bootstrap() -> None:
    """Make the first admin, its API key and the demo models, where they are missing."""
    from app.cli.bootstrapping import bootstrap as run

    run(_settings())


def storage(
    accept: Annotated[
        bool, typer.Option("--accept", help="Make this the platform's storage from now on.")
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Say whether the storage of these settings is the one that the platform's files are in."""
    from app.composition_core import open_core

    core = open_core(_settings(), application="lovage-storage", pool=1)
    try:
        if accept:
            core.storage_identity.accept()
        verified = core.storage_identity.verify()
        sentence = "This is the platform's storage." if verified else "No API has started yet: there is none."
        show_outcome({"verified": verified}, sentence, as_json)
    finally:
        core.close()

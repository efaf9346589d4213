"""`lovage run`, `get`, `watch`, `cancel`: predictions from the command line, through the public API."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import typer

from app.cli import inputs, screen
from app.cli.connection import (
    EXIT_CANCELED,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    Api,
    show_json,
    show_outcome,
    stop,
)
from app.cli.lookups import find_prediction, name_version
from app.cli.model_versions import size
from app.domain.phases import PHASES
from lovage.errors import LovageError
from lovage.values import Event, Prediction

PANEL = "Predictions"
POLL_SECONDS = 0.4
LONGEST_SHOWN = 2_000
EXIT_CODES = {"succeeded": 0, "failed": EXIT_FAILED, "canceled": EXIT_CANCELED}
JSON = typer.Option("--json", help="Print the whole prediction as JSON.")
ID = Annotated[str, typer.Argument(help="Its id, or the beginning of it.")]
# What a prediction that a worker has claimed waits for, where nothing more is known.
CLAIMED = {"model": "waiting for its model", "batch": "waiting for its batch"}
SECONDS = frozenset(PHASES)  # measures in seconds, beside those that end in `_time`


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    for command in (run, get, watch, cancel):
        app.command(rich_help_panel=PANEL)(command)


def run(
    model: Annotated[str, typer.Argument(help="owner/name, owner/name:version or a version's id.")],
    i: Annotated[
        list[str] | None,
        typer.Option("-i", "--input", help="key=value; @file for a file's content. Repeatable."),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the output as it is made.")] = False,
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[
        Path, typer.Option("-o", "--output-dir", help="Where files of the output are saved.")
    ] = Path(),
) -> None:
    """Run a model and show its output. Exit code 0 succeeded, 1 failed, 3 unreachable, 4 canceled."""
    api = Api()
    model = name_version(api, model)
    values = inputs.parse(i or [], _schema(api, model))
    prediction = api.create(model, values, strict=True)  # a misspelt input is an error, not a warning
    is_streamed = stream and "stream" in prediction.data["urls"]
    try:
        ended = _print_stream(api, prediction) if is_streamed else _follow(api, prediction.id, quiet=as_json)
    except KeyboardInterrupt:
        api.cancel(prediction.id)
        stop(f"canceled {prediction.id}", EXIT_CANCELED)
    _finish(ended, as_json, printed=is_streamed, folder=output)


def get(prediction: ID, as_json: Annotated[bool, JSON] = False) -> None:
    """Show one prediction as it is now."""
    api = Api()
    details = dict(api.get(find_prediction(api, prediction)).data)
    if as_json:
        show_json(details)
    else:
        _describe(details)


def watch(prediction: ID, as_json: Annotated[bool, JSON] = False) -> None:
    """Follow a prediction to its end."""
    api = Api()
    ended = _follow(api, find_prediction(api, prediction), quiet=as_json)
    _finish(ended, as_json, printed=False, folder=Path())


def cancel(prediction: ID, as_json: Annotated[bool, JSON] = False) -> None:
    """Cancel a prediction: one that waits never starts, one that runs stops at its next step."""
    api = Api()
    canceled = api.cancel(find_prediction(api, prediction))
    outcome = "already " + canceled.status if canceled.status in ("succeeded", "failed") else "canceled"
    state = outcome if canceled.has_ended else "stopping"
    show_outcome(dict(canceled.data), f"{canceled.id}: {state}", as_json)


def _schema(api: Api, model: str) -> dict[str, Any]:
    """The input schema of what is to be run; {} for a bare version id (the server checks anyway)."""
    path, _, version = model.partition(":")
    if path.count("/") != 1:
        return {}
    details = (
        api.models.version(path, version) if version else api.models.get(path).get("latest_version") or {}
    )
    schema: dict[str, Any] = (
        details.get("openapi_schema", {}).get("components", {}).get("schemas", {}).get("Input", {})
    )
    return schema


def _follow(api: Api, prediction_id: str, *, quiet: bool) -> dict[str, Any]:
    """Polls to the end with one updating line: queued, loading, running (with steps), done."""
    console = screen.console(stderr=True)
    began = time.monotonic()
    with console.status("queued", spinner="dots") as line:
        while True:
            prediction = api.get(prediction_id)
            if prediction.has_ended:
                break
            line.update(f"{phase(prediction.data)} · {time.monotonic() - began:.0f} s")
            time.sleep(POLL_SECONDS if time.monotonic() - began > 1 else POLL_SECONDS / 4)
    if not quiet and console.is_terminal:
        seconds = prediction.metrics.get("total_time", 0)
        console.print(f"{prediction_id} {prediction.status} in {seconds:.2f} s", style="dim")
    return dict(prediction.data)


def phase(prediction: Mapping[str, Any]) -> str:
    """What it is doing, as one line says it."""
    waiting, position = prediction.get("waiting_for") or {}, prediction.get("queue") or {}
    if state := waiting.get("state"):
        share = f", {waiting['percent']} % of {size(waiting['total_bytes'])}" if "percent" in waiting else ""
        return f"{state} the model on {waiting['worker']}{share}"
    lines = (prediction["logs"] or "").strip().splitlines()
    last = f" · {lines[-1][:60]}" if lines else ""
    if words := CLAIMED.get(waiting.get("what", "")):
        return words + last
    if prediction["status"] == "starting":
        number = f", number {position['position']}" if position.get("position") else ""
        starts = position.get("starts_in_seconds")
        return f"queued{number}" + (f", starts in about {starts['p50']:.0f} s" if starts else "")
    if steps := prediction.get("progress"):
        return f"running, step {steps['done']} of {steps['total']}"
    return f"running{last}"


def _print_stream(api: Api, prediction: Prediction) -> dict[str, Any]:
    """Prints chunks as they come, over broken connections; the prediction as it ended."""
    ended = prediction
    try:
        for event in api.follow(prediction):
            _print_event(event)
            ended = event.prediction or ended
    except LovageError as error:
        stop(f"the stream broke: {error}", EXIT_UNREACHABLE)
    return dict(ended.data)


def _print_event(event: Event) -> None:
    if event.kind == "output":
        print(screen.on_terminal(event.data), end="", flush=True)
    elif event.kind == "done":
        print()
    else:
        print()
        print("lovage: the model's process died; the output begins anew:", file=sys.stderr)


def _finish(prediction: dict[str, Any], as_json: bool, *, printed: bool, folder: Path) -> None:
    if as_json:
        show_json(prediction)
    elif prediction["status"] == "failed":
        print(f"lovage: {screen.visible(str(prediction['error']))}", file=sys.stderr)
    elif prediction["status"] == "succeeded" and not printed:
        _show_output(prediction["output"], prediction["id"], folder)
    raise typer.Exit(EXIT_CODES[prediction["status"]])


def _show_output(output: Any, prediction_id: str, folder: Path) -> None:
    """Text as text, files saved and named, anything else as JSON."""
    if isinstance(output, list) and output and all(isinstance(part, str) for part in output):
        if all(_is_file(part) for part in output):
            for part in output:
                print(_save(part, prediction_id, folder))
        else:
            print(screen.on_terminal("".join(output)))
    elif isinstance(output, str):
        print(_save(output, prediction_id, folder) if _is_file(output) else screen.on_terminal(output))
    elif isinstance(output, list):
        print(json.dumps(output, ensure_ascii=False))  # a vector is one line, not one for each number
    else:
        show_json(output)


def _is_file(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and (
        "signature=" in parts.query or "X-Amz-Signature=" in parts.query
    )


def _save(url: str, prediction_id: str, folder: Path) -> str:
    name = Path(urlsplit(url).path).name
    target = folder / f"{prediction_id[-8:]}-{name}"
    try:
        answer = httpx.get(url, timeout=60, trust_env=False)
        answer.raise_for_status()
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(answer.content)
    except (httpx.HTTPError, OSError) as error:
        stop(f"{name} could not be saved: {error}")
    return str(target)


def _describe(prediction: dict[str, Any]) -> None:
    console = screen.console(soft_wrap=True)
    for name in ("id", "model", "version", "status", "created_at", "started_at", "completed_at", "error"):
        if prediction.get(name):
            console.print(f"{name:13}{prediction[name]}")
    shown = [_measure(name, value) for name, value in prediction["metrics"].items() if value is not None]
    console.print(f"{'metrics':13}" + ", ".join(shown))
    for name in ("input", "output", "logs"):
        if prediction.get(name) is not None and prediction[name] != "":
            value = prediction[name]
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            console.print(f"{name:13}{text[:LONGEST_SHOWN]}{' …' if len(text) > LONGEST_SHOWN else ''}")


def _measure(name: str, value: Any) -> str:
    """Seconds carry their unit; all other measures are counts, shares or words."""
    if isinstance(value, float) and (name.endswith("_time") or name in SECONDS):
        return f"{name} {value:.3g} s"
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"

"""`lovage bench EXPERIMENT | compare | sweep | apply`: measures a running platform through its public API."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import typer
import yaml

from app.bench import results, tables, versions
from app.bench.compare import Comparison
from app.bench.connection import Lost, Target, allow_connections
from app.bench.experiment import BadExperiment, Experiment, find, read
from app.bench.results import BadResult, Result
from app.bench.session import Platform, Session, Unusable
from app.bench.sweep import DEFAULT_SIZES, Size, Sweep
from app.bench.sweep_session import SweepSession
from app.cli import screen
from app.cli.bench_progress import Progress
from app.cli.connection import (
    EXIT_CANCELED,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    Api,
    ApiError,
    is_own,
    show_json,
    stop,
)
from app.domain import version_settings
from app.settings import load_client

Kind_co = TypeVar("Kind_co", covariant=True)
FOLDER = Path("bench-results")
EXPERIMENT = typer.Argument(help="A YAML or TOML file, or the name of a shipped one: echo, minilm, words.")
URL = typer.Option("--url", help="The platform's API; needed for one that is not on this machine.")
SET = typer.Option("--set", help="field=value, over the experiment's own; the value is YAML. Repeatable.")
OUTPUT = typer.Option(
    "-o", "--output", help="The result's file (JSON); default: a new one in bench-results/."
)
PLOT = typer.Option("--plot/--no-plot", help="Draw the result beside its file (SVG, needs pygal).")
AS_JSON = typer.Option("--json", help="Print the result as JSON instead of tables.")


class Work(Protocol[Kind_co]):
    """A session or a sweep."""

    def run(self) -> Kind_co:
        """All of it."""
        ...

    def result(self, *, complete: bool) -> Kind_co:
        """What was measured so far."""
        ...

    @property
    def measured(self) -> bool:
        """Whether there is anything."""
        ...


class RunByDefault(typer.core.TyperGroup):
    """`lovage bench FILE` is `lovage bench run FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `run` before a first word that is no command."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


def add_to(app: typer.Typer) -> None:
    """Registers the group."""
    group = typer.Typer(
        help="Measure a running platform: `lovage bench EXPERIMENT`, compare two results, sweep batch sizes.",
        no_args_is_help=True,
        cls=RunByDefault,
    )
    for command in (run, compare, sweep, apply):
        group.command()(command)
    app.add_typer(group, name="bench", rich_help_panel="Measuring")


def run(
    experiment: Annotated[str, EXPERIMENT],
    url: Annotated[str, URL] = "",
    preset: Annotated[
        str, typer.Option(help="latency, balanced or throughput: batching and concurrency.")
    ] = "",
    changes: Annotated[list[str] | None, SET] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    plot: Annotated[bool, PLOT] = True,
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Run an experiment. Exit code 0 done, 1 refused or nothing succeeded, 2 a bad experiment, 3 unreachable,
    4 interrupted."""
    plan = _experiment(experiment, preset, changes)
    platform = _platform(url)
    result = _measured(lambda progress: Session(platform, plan, progress), plan)
    path = output or results.default_path(FOLDER, plan.name)
    _save(path, result)
    if as_json:
        print(result.model_dump_json(indent=2, by_alias=True))
    else:
        _show(result)
        _say(f"Result: {path}")
    if plot:
        _draw(path, plan.name, [("", result.levels)])
    _end(result)


def compare(
    first: Annotated[Path, typer.Argument(help="A result of `lovage bench`.")],
    second: Annotated[Path, typer.Argument(help="Another one, which is divided by the first.")],
    as_json: Annotated[bool, AS_JSON] = False,
) -> None:
    """Compare two results: ratios with the spread of their repeats. Exit code 1 when they are not
    comparable."""
    from app.bench.compare import compare as compared

    comparison = compared(_result(first), _result(second))
    if as_json:
        lines = [{**asdict(line), "verdict": line.conclusion} for line in comparison.lines]
        show_json({**asdict(comparison), "lines": lines})
    else:
        _show_comparison(comparison)
    raise typer.Exit(EXIT_FAILED if comparison.reasons else 0)


def sweep(
    experiment: Annotated[str, EXPERIMENT],
    url: Annotated[str, URL] = "",
    batch: Annotated[str, typer.Option(help="Batch sizes, e.g. auto,1,8,32.")] = ",".join(
        map(str, DEFAULT_SIZES)
    ),
    concurrency: Annotated[
        str, typer.Option(help="Concurrency levels, e.g. 1,16,64; default: the experiment's.")
    ] = "",
    changes: Annotated[list[str] | None, SET] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    plot: Annotated[bool, PLOT] = True,
) -> None:
    """Run an experiment with several batch sizes and find the best policy for latency, for throughput and for
    both."""
    sizes = _sizes(batch)
    levels = [f"concurrency=[{concurrency}]"] if concurrency else []
    plan = _experiment(experiment, "", [*(changes or []), *levels])
    platform = _platform(url)
    result = _measured(lambda progress: SweepSession(platform, plan, sizes, progress), plan)
    path = output or results.default_path(FOLDER, plan.name, "sweep")
    _save(path, result)
    console = screen.console()
    for table in tables.sweep_tables(result):
        console.print(table)
    if result.where.busy:
        _say(f"Note: {result.where.busy}")
    _say(f"Result: {path}")
    _say(f"Apply one as a new version: lovage bench apply {path} --goal balanced")
    if plot:
        _draw(path, plan.name, [(f"batch {cell.max_batch_size}", cell.levels) for cell in result.cells])
    raise typer.Exit(
        0 if result.complete and result.goals else EXIT_CANCELED if result.goals else EXIT_FAILED
    )


def apply(
    file: Annotated[Path, typer.Argument(help="What `lovage bench sweep` wrote.")],
    goal: Annotated[str, typer.Option(help="latency, balanced or throughput.")] = "balanced",
    model: Annotated[
        str, typer.Option(help="owner/name that gets the version; default: the one that was swept.")
    ] = "",
    url: Annotated[str, URL] = "",
) -> None:
    """Make a version with the best policy that a sweep found. It becomes the model's newest version."""
    try:
        result = results.read(file, Sweep)
    except BadResult as error:
        stop(str(error), EXIT_USAGE)
    chosen = {str(name): policy for name, policy in result.goals.items()}.get(goal)
    if chosen is None:
        stop(f"--goal: must be one of {', '.join(result.goals)}", EXIT_USAGE)
    path = model or result.model.partition(":")[0]
    if path.count("/") != 1:
        stop(f"--model: {path}: must be owner/name", EXIT_USAGE)
    version = _api(url).request("POST", f"/v1/models/{path}/versions", json=chosen.version)
    print(f"{path}:{version['id']}")
    measured = f"{chosen.throughput:.0f}/s with p95 {chosen.p95_ms:.0f} ms at {chosen.at}"
    _say(f"max_batch_size: {chosen.max_batch_size}; measured {measured}")


def _experiment(name: str, preset: str, changes: list[str] | None) -> Experiment:
    values: dict[str, Any] = {"preset": preset} if preset else {}
    for change in changes or []:
        field, equals, text = change.partition("=")
        if not equals or not field:
            stop(f"--set {change}: must be field=value", EXIT_USAGE)
        try:
            values[field] = yaml.safe_load(text)
        except yaml.YAMLError:
            stop(f"--set {field}: is not YAML: {text}", EXIT_USAGE)
    try:
        return read(find(name), values)
    except BadExperiment as error:
        stop(str(error), EXIT_USAGE)


def _platform(url: str) -> Platform:
    """Where to send. Only loopback is taken from the settings: a load on another machine is asked for by
    name."""
    api = _api(url)
    if not url and not is_own(api.url):
        stop(f"{api.url} is not on this machine; to put load on it name it: --url {api.url}", EXIT_USAGE)
    from app.local.platform_state import read_platform

    allow_connections()
    state = read_platform(load_client().lovage_data_dir.absolute())
    launcher = (
        state.pid
        if state and urlsplit(state.api_url).port == urlsplit(api.url).port and is_own(api.url)
        else None
    )
    return Platform(Target(api.url, api.headers), partial(_ask, api), launcher)


def _api(url: str) -> Api:
    if url and not (urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname):
        stop(f"--url: {url}: must be http://… or https://…", EXIT_USAGE)
    return Api(url)


def _ask(api: Api, method: str, path: str, **kwargs: Any) -> Any:
    try:
        return api.request(method, path, **kwargs)
    except ApiError as error:
        raise versions.CallFailed(str(error), error.code) from None


def _measured(make: Callable[[Progress], Work[Kind_co]], plan: Experiment) -> Kind_co:
    """The work's result; when it is interrupted or the platform goes away, of what was measured until
    then."""
    with Progress(plan) as progress:
        try:
            work = make(progress)
        except versions.CallFailed as error:
            stop(str(error), error.code)
        try:
            return work.run()
        except KeyboardInterrupt:
            reason, code = "interrupted before anything was measured", EXIT_CANCELED
        except (Unusable, versions.NoCopy) as error:
            reason, code = str(error), EXIT_FAILED
        except Lost as error:
            reason, code = str(error), EXIT_UNREACHABLE
        except versions.CallFailed as error:
            reason, code = str(error), error.code
    if not work.measured:
        stop(reason, code)
    if code != EXIT_CANCELED:
        _say(f"lovage: {reason}")
    return work.result(complete=False)


def _sizes(text: str) -> list[Size]:
    bounds = version_settings.SETTINGS["max_batch_size"].number
    sizes: list[Size] = []
    for part in text.split(","):
        word = part.strip()
        if word == "auto":
            sizes.append("auto")
        elif word.isdigit() and bounds["minimum"] <= int(word) <= bounds["maximum"]:
            sizes.append(int(word))
        else:
            span = f"{bounds['minimum']} to {bounds['maximum']}"
            stop(f"--batch: {word or text!r}: must be auto or a whole number from {span}", EXIT_USAGE)
    return list(dict.fromkeys(sizes))


def _result(path: Path) -> Result:
    try:
        return results.read(path, Result)
    except BadResult as error:
        stop(str(error), EXIT_USAGE)


def _save(path: Path, result: Any) -> None:
    try:
        results.write(path, result)
    except OSError as error:
        stop(f"{path}: {error.strerror}")


def _draw(path: Path, title: str, lines: Any) -> None:
    from app.bench.plot import draw

    picture = path.with_suffix(".svg")
    _say(draw(picture, title, lines) or f"Plot: {picture}")


def _show(result: Result) -> None:
    console = screen.console()
    console.print(tables.result_table(result))
    cpu = tables.cpu_table(result.levels)
    if cpu:
        console.print(cpu)
    else:
        _say(
            "CPU is not known: the platform was not started by `lovage up` on this machine's data folder"
            " (LOVAGE_DATA_DIR)."
        )
    if result.where.busy:
        _say(f"Note: {result.where.busy}")
    for line in tables.error_lines(result.levels):
        console.print(screen.styled("errors", "red"), line)


def _show_comparison(comparison: Comparison) -> None:
    console = screen.console()
    for reason in comparison.reasons:
        console.print(screen.styled("Not comparable:", "red"), reason)
    for title, lines in (("Changed:", comparison.changed), ("Note:", comparison.notes)):
        for line in lines:
            console.print(title, line)
    if comparison.lines:
        console.print(tables.comparison_table(comparison.lines))


def _end(result: Result) -> None:
    if not result.complete:
        _say("interrupted: the result holds what was measured until then")
        raise typer.Exit(EXIT_CANCELED)
    raise typer.Exit(0 if any(level.median.succeeded for level in result.levels) else EXIT_FAILED)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)

"""Programs as backends: real processes, started, fed, bounded and killed."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from app.backends.base import BackendAddress, BackendCall, Machine
from app.backends.cli_program import CliProgram, fill
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.work import Chunk, Event, Finished, Log
from app.outbound.addresses import AddressPolicy
from app.outbound.async_client import AsyncGuardedClient
from app.outbound.guard import Refused


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., CliProgram]:
    """A shell script as a backend, with these options."""

    def write(script: str, **options: Any) -> CliProgram:
        path = tmp_path / "programs" / "tool"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        address = BackendAddress("program:tool", options=options, machine=Machine(tmp_path))
        return CliProgram(address, AsyncGuardedClient(AddressPolicy()))

    return write


def run(program: CliProgram, **values: Any) -> list[Event]:
    async def collect() -> list[Event]:
        return [event async for event in program.run(BackendCall("tool", "command", values))]

    return asyncio.run(collect())


def fault_of(program: CliProgram, **values: Any) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as failed:
        run(program, **values)
    return failed.value


def test_the_input_is_on_standard_input_as_json(program: Callable[..., CliProgram]) -> None:
    assert run(program("cat"), text="hä") == [Finished('{"text":"hä"}')]
    assert run(program("cat", output="json"), text="x") == [Finished({"text": "x"})]
    assert run(program("cat", stdin="none"), text="x") == [Finished("")]


def test_arguments_hold_inputs_and_nothing_is_read_by_a_shell(program: Callable[..., CliProgram]) -> None:
    tool = program('printf "%s|" "$@"', arguments=["-n", "--text={text}", "--top={top}", "--", "{text}"])
    assert run(tool, text="$(id); rm -rf *") == [Finished("-n|--text=$(id); rm -rf *|--|$(id); rm -rf *|")]
    assert fill(["{text}", "{n}"], {"text": "a", "n": 3}) == ["a", "3"]
    for values in ({"text": "-rf"}, {"text": "a\x00b"}):
        with pytest.raises(UpstreamFailed) as refused:
            fill(["{text}"], values)
        assert refused.value.fault is Fault.INPUT


def test_lines_are_streamed_and_errors_are_logged(program: Callable[..., CliProgram]) -> None:
    events = run(program("echo one; echo note >&2; echo two", output="lines"), text="x")
    assert events == [Chunk("one\n"), Chunk("two\n"), Log("note\n"), Finished(["one\n", "two\n"])]


def test_it_sees_no_secret_and_leaves_nothing(program: Callable[..., CliProgram]) -> None:
    os.environ["LOVAGE_TEST_SECRET"] = "s"
    try:
        [finished] = run(program("env; pwd; touch left", stdin="none"))
    finally:
        del os.environ["LOVAGE_TEST_SECRET"]
    assert isinstance(finished, Finished)
    assert "SECRET" not in finished.output
    folder = Path(finished.output.strip().rpartition("\n")[2])
    assert folder.name.startswith("lovage-command-")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("script", "options", "words"),
    [
        ("echo no >&2; exit 3", {}, "ended with 3: no"),
        ("kill -9 $$", {}, "was ended by signal 9"),
        ("sleep 30", {"seconds": 0.3}, "ran longer than 0.3 s"),
        ("yes", {"output_bytes": 1000}, "wrote more than 1000 bytes"),
        ("echo {", {"output": "json"}, "no JSON"),
    ],
)
def test_a_program_that_fails_is_named_and_not_tried_again(
    program: Callable[..., CliProgram], script: str, options: dict, words: str
) -> None:
    failure = fault_of(program(script, **options), text="x")
    assert words in failure.sentence
    assert failure.fault is Fault.MODEL


def test_too_much_memory_ends_it(program: Callable[..., CliProgram]) -> None:
    tool = program(
        "sleep 0.2; x=$(head -c 200000000 /dev/zero | tr '\\0' a); echo ${#x}", memory_bytes=50_000_000
    )
    assert fault_of(tool, text="x").fault is Fault.MODEL


def test_a_cancel_kills_all_that_it_has_started(program: Callable[..., CliProgram], tmp_path: Path) -> None:
    tool = program(f"sleep 60 & echo $! > {tmp_path}/child; wait")

    async def cancel() -> None:
        async def follow() -> None:
            async for _ in tool.run(BackendCall("tool", "command", {})):
                pass

        task = asyncio.create_task(follow())
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    began = time.monotonic()
    asyncio.run(cancel())
    child = int((tmp_path / "child").read_text())
    assert time.monotonic() - began < 5
    eventually(lambda: not is_alive(child), 5)


def is_alive(pid: int) -> bool:
    """A dead child of a dead parent is nobody's: its state is Z until it is reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_only_what_lies_in_the_folder_is_run(program: Callable[..., CliProgram], tmp_path: Path) -> None:
    tool = program("cat")
    (tmp_path / "programs" / "tool").chmod(0o644)
    assert fault_of(tool).fault is Fault.SETUP
    for url in ("program:../sh", "program:/bin/sh", "http://host", "program:", "program:a b"):
        with pytest.raises(Refused):
            CliProgram.check_url(url, AddressPolicy())
    CliProgram.check_url("program:tool", AddressPolicy())


def test_its_inputs_are_what_the_options_say(program: Callable[..., CliProgram]) -> None:
    tool = program("cat", inputs={"n": {"type": "integer"}}, output="lines")
    [model] = asyncio.run(tool.list_models())  # type: ignore[arg-type]
    assert (model.name, model.task, model.streams) == ("tool", "command", True)
    assert model.inputs["properties"] == {"n": {"type": "integer"}}

"""A program of the gateway worker's machine as a backend. Which programs there are is decided on that
machine: they lie in a folder, and the registry only names one of them."""

import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import orjson

from app.backends.base import BackendCall, BackendKind, JsonObject
from app.backends.command import CommandFailed, CommandLimits, running
from app.domain.backend_retry import Fault, UpstreamFailed
from app.domain.backends import ServedModel
from app.domain.work import Chunk, Event, Finished, Log
from app.outbound.addresses import AddressPolicy
from app.outbound.guard import Refused

COMMAND = "command"
PROGRAMS = "programs"  # the folder: whoever can write there decides what may be run
ADDRESS = re.compile(r"program:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,99})\Z")
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
TEXT: JsonObject = {"type": "string", "maxLength": 1_000_000, "description": "What the program reads."}
DEFAULT_SECONDS, DEFAULT_OUTPUT_BYTES = 60.0, 1_000_000


class CliProgram(BackendKind):
    """Its address is `program:NAME`. `arguments` may hold `{input}` names; one whose input is not given is
    left out. On its standard input is the whole input as JSON, if `stdin` is json. `output`: text, lines
    (streamed) or json."""

    tasks: ClassVar[tuple[str, ...]] = (COMMAND,)
    options: ClassVar[JsonObject] = {
        "arguments": {"type": "array", "items": {"type": "string", "maxLength": 1_000}, "maxItems": 100},
        "stdin": {"type": "string", "enum": ["json", "none"]},
        "output": {"type": "string", "enum": ["text", "lines", "json"]},
        "inputs": {"type": "object", "description": "Properties of the input's JSON Schema."},
        "seconds": {"type": "number", "minimum": 0.1, "maximum": 86_400},
        "output_bytes": {"type": "integer", "minimum": 1, "maximum": 100_000_000},
        "memory_bytes": {"type": "integer", "minimum": 0, "maximum": 2**50},
    }

    @classmethod
    def check_url(cls, url: str, policy: AddressPolicy) -> None:
        if not ADDRESS.match(url):
            raise Refused(
                "must be program:NAME, the name of a program in the gateway worker's folder of programs"
            )

    @property
    def _name(self) -> str:
        return self.address.url.removeprefix("program:")

    def _program(self) -> Path:
        folder = self.address.machine.folder / PROGRAMS
        program = folder / self._name
        if not (program.is_file() and os.access(program, os.X_OK)):
            raise UpstreamFailed(f"is no program in {folder} of this machine", Fault.SETUP)
        return program

    async def check(self) -> None:
        self._program()

    async def list_models(self) -> Sequence[ServedModel]:
        streams = self.address.options.get("output") == "lines"
        outputs: JsonObject = {"title": "Output"} | ({} if self._is_json else {"type": "string"})
        if streams:
            outputs = {"title": "Output", "type": "array", "items": {"type": "string"}}
            outputs |= {"x-cog-array-type": "iterator", "x-cog-array-display": "concatenate"}
        properties = self.address.options.get("inputs") or {"text": TEXT}
        inputs: JsonObject = {"type": "object", "title": "Input", "properties": properties}
        return [ServedModel(self._name, COMMAND, inputs=inputs, outputs=outputs, streams=streams)]

    @property
    def _is_json(self) -> bool:
        return bool(self.address.options.get("output") == "json")

    async def run(self, call: BackendCall) -> AsyncIterator[Event]:
        """One run of the program. Its errors go to the prediction's logs."""
        options, pieces = self.address.options, list[str]()
        limits = CommandLimits(
            float(options.get("seconds", DEFAULT_SECONDS)),
            int(options.get("output_bytes", DEFAULT_OUTPUT_BYTES)),
            int(options.get("memory_bytes", 0)),
        )
        stdin = b"" if options.get("stdin") == "none" else orjson.dumps(call.input)
        arguments = fill(options.get("arguments") or (), call.input)
        try:
            async with running(self._program(), arguments, stdin, limits) as command:
                async for line in command.lines():
                    pieces.append(line)
                    if options.get("output") == "lines":
                        yield Chunk(line)
                await command.check_end()
                if command.stderr:
                    yield Log(command.stderr)
        except CommandFailed as error:
            raise UpstreamFailed(str(error), Fault.MODEL) from error
        yield Finished(self._output(pieces))

    def _output(self, pieces: list[str]) -> Any:
        if self.address.options.get("output") == "lines":
            return pieces
        text = "".join(pieces)
        if not self._is_json:
            return text
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            raise UpstreamFailed("wrote something that is no JSON", Fault.MODEL) from None


def fill(arguments: Sequence[str], values: JsonObject) -> list[str]:
    """The arguments with their inputs in place. Raises UpstreamFailed for a value that the program would take
    for an option: one that begins with a dash and stands alone."""
    filled = []
    for position, argument in enumerate(arguments):
        names = PLACEHOLDER.findall(argument)
        if any(values.get(name) is None for name in names):
            continue
        text = PLACEHOLDER.sub(lambda match: _as_text(values[match[1]]), argument)
        is_alone = argument.startswith("{") and "--" not in arguments[:position]
        if names and is_alone and text.startswith("-"):
            raise UpstreamFailed(f"takes no value that begins with a dash: {names[0]}", Fault.INPUT)
        if "\x00" in text:
            raise UpstreamFailed(f"takes no NUL: {names[0]}", Fault.INPUT)
        filled.append(text)
    return filled


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()

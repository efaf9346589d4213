"""An output that several attempts make, and one that holds files: what readers got is what is recorded."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import orjson
import pytest
import redis
from accepting import all_ended, row, rows
from waiting import eventually

from app.domain.predictions import Prediction, Status
from app.domain.work import Chunk, Finished, Restarted, file_out, list_files, map_files
from app.events import channels
from app.events.channels import ChunkFrame
from app.json_text import JsonText
from app.services.predictions.attempts import HandBack, ProgressUpdate
from app.storage.memory import MemoryStorage
from app.storage.signing import UrlSigner
from app.worker.outputs import Outputs
from app.worker.run import GENERATIONS, Run, take_progress

PIECES = ["ab", "cd", "ef", "gh"]
STREAM = {"text": "".join(PIECES), "chunks": 4}


def cut_off(parts: SimpleNamespace, published: Sequence[str], recorded: Sequence[str] | None) -> str:
    """A stream whose first attempt ended after so much."""
    accepted = parts.core.lifecycle.accept([row(parts.version, **STREAM) | {"stream": True}])
    [prediction] = parts.core.lifecycle.claim(list(accepted), parts.identity.id, {}).predictions
    for number, piece in enumerate(published):
        parts.core.events.chunk(prediction.id, ChunkFrame(1, number, piece))
    eventually(lambda: parts.core.redis.xlen(channels.kept(prediction.id)) == len(published))
    fence = (prediction.id, 1, parts.identity.id)
    if recorded is not None:
        parts.core.lifecycle.save_progress([ProgressUpdate(*fence, list(recorded))])
    parts.core.lifecycle.hand_back([HandBack(*fence)])
    return str(prediction.id)


def finish(parts: SimpleNamespace, prediction_id: str) -> Prediction:
    parts.ending_writer.start()
    parts.intake.start()
    parts.intake.on_message(prediction_id)
    eventually(all_ended(parts, [prediction_id]))
    return rows(parts, [prediction_id])[0]


def kept(parts: SimpleNamespace, prediction_id: str) -> list[list[Any]]:
    """The frames in Redis, without marks of takeovers."""
    entries = parts.core.redis.xrange(channels.kept(prediction_id))
    frames = [orjson.loads(fields[b"f"]) for _, fields in entries]
    return [frame for frame in frames if frame[4:] != [True]]


@pytest.mark.parametrize(
    ("published", "recorded"), [(PIECES[:2], None), (PIECES[:3], PIECES[:1]), ([], PIECES[:2])]
)
def test_the_next_attempt_gives_out_only_what_readers_have_not_had(
    parts: SimpleNamespace, published: list[str], recorded: list[str] | None
) -> None:
    prediction_id = cut_off(parts, published, recorded)
    done = finish(parts, prediction_id)
    assert (done.status, done.output, done.generation) == (Status.SUCCEEDED, PIECES, 0)
    had = max(len(published), len(recorded or ()))
    later = [[2, number, PIECES[number]] for number in range(had, 4)]
    eventually(lambda: kept(parts, prediction_id)[len(published) :] == later)


def test_an_attempt_that_says_something_else_begins_anew_and_says_so(parts: SimpleNamespace) -> None:
    prediction_id = cut_off(parts, ["ab", "another"], ["ab"])
    done = finish(parts, prediction_id)
    assert (done.output, done.generation) == (PIECES, 2 * GENERATIONS + 1)
    anew = [[2, number, piece, done.generation, False] for number, piece in enumerate(PIECES)]
    eventually(lambda: kept(parts, prediction_id) == anew)


def test_while_redis_is_away_an_attempt_goes_on_from_the_row(
    parts: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction_id = cut_off(parts, [], PIECES[:2])

    def away(**_: Any) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(parts.takeover, "_script", away)
    done = finish(parts, prediction_id)
    assert (done.output, done.generation) == (PIECES, 0)


def running(**more: Any) -> Run:
    return Run(
        Prediction(
            "p" * 26,
            None,
            "v",
            "a/b",
            Status.PROCESSING,
            "cpu",
            datetime.now(UTC),
            attempt=1,
            worker=UUID(int=1),
            **more,
        )
    )


def test_pieces_that_are_objects_are_progress_and_those_from_a_file_on_come_at_the_end() -> None:
    run = running(webhook="http://x.test", webhook_events=["output"])
    shown = [run.on_event(Chunk(data)) for data in ({"step": 1}, "text", file_out("a.png"), "behind")]
    assert [frame.number if frame else None for frame in shown] == [0, 1, None, None]
    update = take_progress(run)
    assert update is not None
    assert (update.output, update.webhook_events) == ([{"step": 1}, "text"], ("output",))
    assert take_progress(run) is None
    run.on_event(Finished([]))
    assert run.output == [{"step": 1}, "text", file_out("a.png"), "behind"], "what was streamed, and no other"


@pytest.mark.parametrize(("chosen", "owes"), [(["output"], True), (["completed"], False), (None, False)])
def test_a_run_too_short_for_an_event_of_its_output_owes_one_where_it_was_asked_for(chosen, owes) -> None:
    run = running(webhook="http://x.test", webhook_events=chosen)
    run.on_event(Finished("whole"))
    assert run.as_ending(JsonText.from_value("whole")).owes_output is owes
    assert run.as_ending(None).owes_output is False, "there is no output"


def test_a_run_whose_output_was_sent_on_the_way_owes_none() -> None:
    run = running(webhook="http://x.test", webhook_events=["output"])
    run.on_event(Chunk("a"))
    assert take_progress(run) is not None
    run.on_event(Finished([]))
    assert run.as_ending(JsonText.from_value(["a"])).owes_output is False


def test_the_logs_begin_with_what_was_left_out_of_the_input() -> None:
    run = running(routing={"warnings": ["input.size is not an input of this model: it was left out."]})
    run.on_event(Finished("whole"))
    assert run.as_ending(None).logs.startswith("input.size is not an input")


def test_an_output_that_begins_anew_has_a_greater_number_each_time() -> None:
    run = running(output=["a"], generation=5)
    assert (run.generation, run.chunks) == (5, ["a"])
    numbers = []
    for _ in range(2):
        run.on_event(Restarted())
        frame = run.on_event(Chunk("b"))
        assert frame is not None
        numbers.append((frame.generation, frame.number))
    assert numbers == [(GENERATIONS + 1, 0), (GENERATIONS + 2, 0)]


MIXED: list[Any] = [
    ["a caption", file_out("a.png")],
    [1.5, {"deep": [None, file_out("a.png")]}],
    {"caption": "x", "pictures": [file_out("a.png"), "y", file_out("b.png")]},
    ["a", "b", ["c", file_out("a.png")]],
]


@pytest.mark.parametrize("output", MIXED)
def test_files_are_stored_wherever_they_stand_in_an_output(tmp_path: Path, output: Any) -> None:
    storage = MemoryStorage(UrlSigner("s"))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    stored, _ = Outputs(storage).store(output, tmp_path, "p", 3)
    assert list_files(stored) == [f"outputs/p/3/{name}" for name in list_files(output)]
    assert map_files(stored, lambda key: file_out(key.removeprefix("outputs/p/3/"))) == output
    for key in list_files(stored):
        assert storage.exists(key)


def test_what_only_looks_like_a_file_stays_as_it_is() -> None:
    for output in ({"$file": 5}, {"$file": "a", "more": 1}, [0.5] * 1000, "text", None, [[1, 2], ["x"]]):
        assert list_files(output) == []
        assert map_files(output, re.escape) == output

"""Frames over a real socket pair."""

import socket
import threading

import numpy
import pytest

from app.domain.work import Canceled, Chunk, Crashed, Event, Failed, Finished, Log, Progress, Started
from app.engine.frames import HEADER, MAX_FRAME_BYTES, FrameError, FrameReader, encode, pack, unpack
from app.engine.outbox import Outbox

EVENTS: list[Event] = [
    Started(3),
    Chunk({"a": [1, None]}),
    Log("text\n"),
    Progress(1, 2),
    Finished([1.5], {"run": 0.1}),
    Failed("no", "run_timeout", {"x": 1}),
    Canceled({"run": 1}),
    Crashed("dead"),
]


def read_everything(frames: bytes, piece: int) -> list[object]:
    ours, theirs = socket.socketpair()

    def feed() -> None:
        with theirs:
            for start in range(0, len(frames), piece):
                theirs.sendall(frames[start : start + piece])

    thread = threading.Thread(target=feed)
    thread.start()
    messages = []
    with ours:
        reader = FrameReader(ours)
        while group := reader.read():
            messages += group
    thread.join()
    return messages


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_every_event_survives_the_way_however_it_is_cut(piece: int) -> None:
    frames = b"".join(encode(pack(f"id-{number}", event)) for number, event in enumerate(EVENTS))
    answers = [unpack(message) for message in read_everything(frames, piece)]  # type: ignore[arg-type]
    assert answers == [(f"id-{number}", event) for number, event in enumerate(EVENTS)]


def test_arrays_become_lists_and_other_things_are_refused() -> None:
    assert read_everything(encode({"a": numpy.ones(2), 3: numpy.float32(1)}), 99) == [
        {"a": [1.0, 1.0], "3": 1.0}
    ]
    with pytest.raises(TypeError):
        encode({"a": object()})
    with pytest.raises(TypeError):
        encode(2**70)


def test_rubbish_ends_the_connection() -> None:
    with pytest.raises(FrameError, match="is to come"):
        read_everything(HEADER.pack(MAX_FRAME_BYTES + 1), 9)
    with pytest.raises(FrameError, match="not JSON"):
        read_everything(HEADER.pack(3) + b"{{{", 9)


def test_an_output_that_is_no_json_fails_alone() -> None:
    ours, theirs = socket.socketpair()
    outbox = Outbox(theirs)
    outbox.add_events([("a", Finished(1)), ("b", Finished(object())), ("c", Finished(3))])
    outbox.send_message("log", "last")
    outbox.close()
    theirs.close()
    reader, messages = FrameReader(ours), []
    while group := reader.read():
        messages += group
    events = [unpack(packed) for kind, value in messages if kind == "events" for packed in value]
    assert events[0] == ("a", Finished(1))
    assert isinstance(events[1][1], Failed)
    assert events[2] == ("c", Finished(3))
    assert messages[-1] == ["log", "last"]
    ours.close()

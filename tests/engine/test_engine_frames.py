"""Frames over a real socket pair."""

import socket
import threading

import numpy
import pytest

from app.domain.raw_tensors import RawTensor
from app.domain.work import Canceled, Chunk, Crashed, Event, Failed, Finished, Log, Progress, Started, Work
from app.engine.frames import (
    HEADER,
    MAX_FRAME_BYTES,
    WITH_BYTES,
    FrameError,
    FrameReader,
    encode,
    encode_answer,
    pack,
    unpack,
    unpack_answer,
)
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


@pytest.mark.parametrize("piece", [7, 100_000])
def test_tensors_travel_as_they_are_between_other_messages(piece: int) -> None:
    given = {
        "a": RawTensor("FP32", (2, 1_000), numpy.ones(2_000, "<f4").tobytes()),
        "b": RawTensor("INT8", (3,), b"\x01\x02\xff"),
    }
    frame = b"".join(encode_answer("id", Finished({"c": 1}, {"run": 0.1}, given)))
    before, answer, after = read_everything(encode("before") + frame + encode("after"), piece)
    assert (before, after) == ("before", "after")
    work_id, event = unpack_answer(*answer[1:])  # type: ignore[index]
    assert (work_id, event.output, event.metrics) == ("id", {"c": 1}, {"run": 0.1})  # type: ignore[union-attr]
    tensors = event.tensors  # type: ignore[union-attr]
    assert {name: (each.datatype, each.shape) for name, each in tensors.items()} == {
        "a": ("FP32", (2, 1_000)),
        "b": ("INT8", (3,)),
    }
    assert (bytes(tensors["a"].data), tensors["b"].as_lists()) == (given["a"].data, [1, 2, -1])


def test_who_takes_no_bytes_has_tensors_as_lists() -> None:
    tensors = {"x": RawTensor("BOOL", (1, 2), b"\x00\x05"), "n": RawTensor("FP64", (), b"\x00" * 8)}
    values = {"tensors": {"x": {"$tensor": {}}, "y": [1]}, "seed": 1}
    lists = {"tensors": {"x": [[False, True]], "y": [1], "n": 0.0}, "seed": 1}
    assert Work("id", values, tensors=tensors).json_input() == lists


def test_rubbish_ends_the_connection() -> None:
    with pytest.raises(FrameError, match="is to come"):
        read_everything(HEADER.pack(WITH_BYTES | 2) + HEADER.pack(MAX_FRAME_BYTES), 99)
    with pytest.raises(FrameError, match="ended after 1 of 5"):
        read_everything(HEADER.pack(WITH_BYTES | 2) + HEADER.pack(5) + b"[]x", 99)
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

"""Continuous batching: who joins and leaves changes nobody's text."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import Feed, jobs, outputs, run

from app.domain.work import Chunk, Delivered, Finished
from app.runtimes.base import Job, Runtime
from app.runtimes.text.text_pieces import Detokenizer, StopFilter, overlap

PROMPTS = ["The whale", "Alice was beginning to get very tired", "It", "The captain of the ship said that"]
GREEDY = [
    {"prompt": prompt, "temperature": 0, "max_new_tokens": 10 + 7 * n} for n, prompt in enumerate(PROMPTS)
]
SAMPLED = [
    {"prompt": prompt, "temperature": 1.1, "seed": n, "max_new_tokens": 12 + 5 * n}
    for n, prompt in enumerate(PROMPTS)
]


@pytest.mark.parametrize("inputs", [GREEDY, SAMPLED], ids=["greedy", "sampled with a seed"])
def test_a_text_is_the_same_alone_in_a_batch_and_joining_late(words: Runtime, tmp_path: Path, inputs) -> None:
    alone = [outputs(words, [one], tmp_path)[0] for one in inputs]
    assert outputs(words, inputs, tmp_path) == alone
    early, late = jobs(words, inputs[:1], tmp_path), jobs(words, inputs[1:], tmp_path, first=1)
    ended, chunks = run(words, early, Feed(late))
    assert [ended[str(n)].output for n in range(len(inputs))] == alone  # type: ignore[union-attr]
    assert ["".join(chunks[str(n)]) for n in range(len(inputs))] == ["".join(one) for one in alone]


def test_tokens_are_counted_and_the_reason_is_given(words: Runtime, tmp_path: Path) -> None:
    [job] = jobs(words, [{"prompt": "The whale", "max_new_tokens": 5, "temperature": 0}], tmp_path)
    ended, _ = run(words, [job])
    metrics = ended["0"].metrics  # type: ignore[union-attr]
    assert metrics["output_tokens"] == 5
    assert metrics["finish_reason"] == "length"
    assert metrics["prompt_tokens"] == job.length


def test_a_stop_string_ends_the_text_and_never_leaks(words: Runtime, tmp_path: Path) -> None:
    free = "".join(
        outputs(words, [{"prompt": "The whale", "temperature": 0, "max_new_tokens": 40}], tmp_path)[0]
    )
    stop = free[12:17]
    [job] = jobs(
        words, [{"prompt": "The whale", "temperature": 0, "max_new_tokens": 40, "stop": [stop]}], tmp_path
    )
    ended, chunks = run(words, [job])
    assert "".join(chunks["0"]) == free[: free.index(stop)]
    assert ended["0"].metrics["finish_reason"] == "stop"  # type: ignore[union-attr]


def test_messages_go_through_the_chat_template(words: Runtime, tmp_path: Path) -> None:
    [job] = jobs(
        words, [{"messages": [{"role": "user", "content": "Who are you?"}], "max_new_tokens": 5}], tmp_path
    )
    ended, _ = run(words, [job])
    assert isinstance(ended["0"], Finished)
    assert job.length > 5


@pytest.mark.parametrize("given", [{}, {"prompt": "x", "messages": [{"role": "user", "content": "y"}]}])
def test_neither_or_both_of_prompt_and_messages_is_refused(words: Runtime, tmp_path: Path, given) -> None:
    with pytest.raises(ValueError, match="either `prompt` or `messages`"):
        jobs(words, [given], tmp_path)


def test_a_prompt_longer_than_the_model_is_refused(words: Runtime, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most"):
        jobs(words, [{"prompt": "word " * 3000}], tmp_path)


def test_a_prompt_of_two_million_tokens_is_refused_before_it_is_tokenised(words: Runtime) -> None:
    """Short prompts beside sixteen of them waited 36 s."""
    job = Job("1", {"prompt": "a " * 1_000_000})
    began = time.monotonic()
    for _ in range(16):
        with pytest.raises(ValueError, match="has more than 512 tokens; the model takes at most 511"):
            words.prepare(job)
    assert time.monotonic() - began < 1.0


@given(
    st.text(max_size=40),
    st.lists(st.text(min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(1, 5), max_size=40),
)
def test_a_stop_filter_gives_the_text_before_the_first_stop_however_it_is_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    filter_, given_out, at = StopFilter(stops), "", 0
    for size in [*cuts, *[1] * len(text)]:
        if at < len(text) and not filter_.stopped:
            given_out += filter_.add(text[at : at + size])
            at += size
    given_out += "" if filter_.stopped else filter_.flush()
    ends = [text.find(stop) for stop in stops if stop in text]
    if ends:
        assert all(stop not in given_out for stop in stops)
        assert text.startswith(given_out)
    else:
        assert given_out == text


@given(st.text(alphabet="añ漢😀b ", max_size=30))
def test_pieces_are_whole_characters_and_add_up(text: str) -> None:
    pieces = Detokenizer(lambda ids: bytes(ids).decode(errors="replace"), [])
    found = [pieces.add(byte) for byte in text.encode()]
    assert all("\ufffd" not in piece for piece in found)
    assert "".join(found) + pieces.flush() == text


def test_overlap_is_the_longest_end_that_begins_the_stop() -> None:
    assert [overlap("abc", "cab"), overlap("xab", "abz"), overlap("abc", "xyz")] == [1, 2, 0]


CONTINUED = [
    {"prompt": "The whale", "temperature": 0, "max_new_tokens": 40},
    {"prompt": "Alice was", "temperature": 1.2, "seed": 5, "max_new_tokens": 80, "repetition_penalty": 1.3},
    {"prompt": "It", "temperature": 1.5, "top_k": 0, "seed": 7, "max_new_tokens": 30, "stop": ["zebra"]},
]


@pytest.mark.parametrize("given", CONTINUED, ids=["greedy", "seeded, with a penalty", "with a stop string"])
def test_a_text_that_was_cut_off_goes_on_as_if_nothing_had_happened(
    words: Runtime, tmp_path: Path, given: dict[str, Any]
) -> None:
    [job] = jobs(words, [given], tmp_path)
    events = [event for _, event in words.run([job], Feed())]
    chunks, whole = [event for event in events if isinstance(event, Chunk)], events[-1]
    assert isinstance(whole, Finished)
    for cut in (1, len(chunks) // 2, len(chunks)):
        again = Job("again", given, files="", delivered=delivered(chunks[:cut]))
        words.prepare(again)
        assert cut - again.continued in ((0, 1) if cut == len(chunks) else (0,))
        neighbour = jobs(words, GREEDY[1:2], tmp_path)
        ended, more = run(words, neighbour, Feed([again]))
        assert more["again"] == [chunk.data for chunk in chunks[again.continued :]]
        assert ended["again"] == whole


def test_a_text_that_its_tokens_do_not_make_begins_at_the_beginning(words: Runtime) -> None:
    strange = Job("0", CONTINUED[0], delivered=Delivered(["another", " text"], [[17], [18, 19]]))
    words.prepare(strange)
    assert (strange.continued, strange.length) == (0, len(strange.prepared.ids))


def delivered(chunks: Sequence[Chunk]) -> Delivered:
    return Delivered([chunk.data for chunk in chunks], [chunk.state for chunk in chunks])

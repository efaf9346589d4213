"""Long inputs and outputs are files that rows name: nothing that is read, written or shown in groups holds
them, and whoever asks for one prediction gets it as it was."""

import asyncio
import threading
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
from moving import accepted, claim, claimed, ending, living_worker
from prediction_rows import row
from sqlalchemy import text

from app.byte_budget import ByteBudget
from app.composition_core import Core
from app.db import prediction_lists as lists
from app.db import predictions as table
from app.db.predictions import LONG_BYTES
from app.domain.predictions import Prediction, Status
from app.json_text import JsonText
from app.services.predictions import webhook_outbox
from app.services.predictions.attempts import HandBack, ProgressUpdate
from app.services.predictions.stored_values import (
    INLINE_BYTES,
    REST_BYTES,
    facts_of,
    group_by_shared,
    input_key,
    output_key,
    share_input,
    split_input,
)

LONG = "x" * (INLINE_BYTES + 1)
HOOK = "http://receiver.test/"


def test_a_short_input_is_written_down_once_as_it_is() -> None:
    values = {"text": "x" * 1_000, "seed": 1}
    parts = split_input(values)
    assert (parts.rest.value(), parts.stored, parts.size) == (values, None, len(orjson.dumps(values)))


@pytest.mark.parametrize(
    "values",
    [
        {"text": LONG, "seed": 5},
        {"text": LONG},
        {str(n): "y" * 9_000 for n in range(200)},
        {"messages": [{"content": "z" * 900_000}] * 2, "temperature": 0.5, "stop": ["\n"]},
    ],
    ids=["one long", "alone", "many", "messages"],
)
def test_a_long_input_leaves_little_in_its_row_and_nothing_is_lost(values: dict[str, Any]) -> None:
    parts = split_input(values)
    assert parts.stored is not None
    assert len(parts.rest) <= REST_BYTES + 2
    assert parts.rest.value() | parts.stored.value() == values
    assert parts.size > INLINE_BYTES


def test_what_the_choices_of_one_call_share_is_stored_once() -> None:
    messages = [{"content": "z" * 100_000}]
    inputs = [{"messages": messages, "seed": number} for number in range(128)]
    assert group_by_shared(inputs) == [(list(range(128)), {"messages"})]
    parts = share_input(inputs, frozenset({"messages"}))
    assert {id(each.stored) for each in parts} == {id(parts[0].stored)}
    assert parts[0].stored is not None
    assert [each.rest.value() | parts[0].stored.value() for each in parts] == inputs
    few = share_input(inputs[:2], frozenset({"messages"}))
    assert [(each.stored, each.rest.value()) for each in few] == [(None, values) for values in inputs[:2]]


def test_calls_with_several_prompts_share_each_with_its_own_choices() -> None:
    first, second = "a" * 10, "b" * 10
    inputs = [{"prompt": prompt, "seed": n} for prompt in (first, second) for n in range(2)]
    assert group_by_shared(inputs) == [([0, 1], {"prompt"}), ([2, 3], {"prompt"})]


def accept_long(core: Core, values: dict[str, Any], **more: Any) -> Prediction:
    """As the Submitter does."""
    parts = split_input(values)
    assert parts.stored is not None
    accepting = row(input=parts.rest.fragment, input_bytes=parts.size, **more)
    accepting["input_key"] = input_key(accepting["id"])
    core.answers.stored.put(accepting["input_key"], parts.stored)
    return core.lifecycle.accept([accepting])[accepting["id"]]


def finish_long(core: Core, running: Prediction, output: Any) -> Prediction:
    value = JsonText.from_value(output)
    key = output_key(running.id, running.attempt)
    core.answers.stored.put(key, value)
    facts = facts_of(output, value).value()
    [ended] = core.lifecycle.finish([ending(running, output=facts, output_bytes=len(value), output_key=key)])
    assert ended is not None
    return read(core, running.id)


def read(core: Core, *ids: str) -> Prediction:
    with core.database.unit() as session:
        return table.get(session, ids)[ids[0]]


def shown(core: Core, prediction: Prediction) -> Any:
    """As GET answers it."""
    whole = core.answers.render(prediction, "http://b")
    body = b"".join(whole.blocks)
    assert len(body) == whole.size
    return orjson.loads(body)


def test_the_whole_object_is_answered_wherever_its_parts_are(core: Core) -> None:
    values = {"text": LONG, "seed": 5, "mark": '"input" \\'}
    waiting = accept_long(core, values)
    [running] = claim(core, living_worker(core), waiting.id)
    ended = finish_long(core, running, [LONG, {"deep": "x"}])
    whole = shown(core, ended)
    assert (whole["input"], whole["output"]) == (values, [LONG, {"deep": "x"}])
    assert "left_out" not in whole
    assert whole == core.answers.read(ended, "http://b")


def test_links_in_a_stored_output_are_signed(core: Core) -> None:
    running = claimed(core, living_worker(core))
    key = f"outputs/{running.id}/1/a.png"
    whole = shown(core, finish_long(core, running, [LONG, {"$file": key}]))
    assert whole["output"][1].startswith(f"http://b/v1/files/content/{key}?")


def test_as_starting_it_shows_no_output(core: Core) -> None:
    waiting = accept_long(core, {"text": LONG})
    whole = core.answers.render(read(core, waiting.id), as_starting=True)
    assert orjson.loads(b"".join(whole.blocks))["output"] is None


def test_a_group_that_is_read_holds_no_long_value_and_a_row_alone_holds_all(core: Core) -> None:
    middling = "y" * (LONG_BYTES + 1)
    running = claimed(core, living_worker(core), input={"text": middling}, input_bytes=len(middling) + 11)
    core.lifecycle.finish([ending(running, output=middling, logs=middling, output_bytes=len(middling) + 2)])
    other = accepted(core)
    among = read(core, running.id, other.id)
    assert (among.input, among.output, among.logs) == (None, None, "")
    assert among.left_out == among.not_here == ("input", "output", "logs")
    alone = read(core, running.id)
    assert (alone.input, alone.output, alone.logs) == ({"text": middling}, middling, middling)
    assert alone.not_here == ()


def test_rows_of_a_release_that_did_not_count_bytes_are_left_out_by_what_they_take_on_disk(
    core: Core,
) -> None:
    noise = "".join(map(chr, (33 + n * 7919 % 5_000 for n in range(60_000))))
    old, other = accepted(core, input={"text": noise}), accepted(core)
    with core.database.unit() as session:
        session.execute(text("UPDATE predictions SET input_bytes = NULL"))
    assert read(core, old.id, other.id).left_out == ("input",)
    assert read(core, old.id).input == {"text": noise}


def test_a_list_shows_what_is_short_and_names_what_it_leaves_out(core: Core) -> None:
    """`GET /v1/predictions?limit=100` over 100 rows of 10 MB read, parsed and wrote a gigabyte."""
    user = uuid4()
    [running] = claim(core, living_worker(core), accept_long(core, {"text": LONG}, user_id=user).id)
    finish_long(core, running, LONG)
    short = accepted(core, user_id=user)
    with core.database.unit() as session:
        newest, listed = lists.page(
            session, lists.Filter(user), before=None, after=None, limit=10
        ).predictions
    entry = core.view.render(listed, "http://b")
    assert (entry["input"], entry["output"], entry["left_out"]) == (None, None, ["input", "output"])
    assert entry["urls"]["get"] == f"http://b/v1/predictions/{running.id}"
    assert core.view.render(newest)["input"] == short.input
    assert "left_out" not in core.view.render(newest)


def bodies(core: Core, prediction_id: str) -> list[Any]:
    with core.database.unit() as session:
        found = session.execute(
            text("SELECT body FROM deliveries WHERE prediction_id = :id ORDER BY created_at"),
            {"id": prediction_id},
        )
        return [orjson.loads(bytes(body)) for body in found.scalars()]


def test_a_webhook_holds_the_whole_object(core: Core) -> None:
    waiting = accept_long(core, {"text": LONG, "seed": 1}, webhook=HOOK)
    [running] = claim(core, living_worker(core), waiting.id)
    finish_long(core, running, [LONG])
    [body] = bodies(core, running.id)
    assert (body["input"], body["output"]) == ({"text": LONG, "seed": 1}, [LONG])


def test_a_webhook_of_middling_values_in_a_group_holds_them_too(core: Core) -> None:
    middling = "y" * (LONG_BYTES + 1)
    worker = living_worker(core)
    running = [
        claimed(core, worker, input={"text": middling}, input_bytes=40_000, webhook=HOOK) for _ in "ab"
    ]
    core.lifecycle.finish([ending(each, output=middling, output_bytes=40_000) for each in running])
    for each in running:
        [body] = bodies(core, each.id)
        assert (body["input"], body["output"], body.get("left_out")) == ({"text": middling}, middling, None)


def test_a_webhook_longer_than_a_courier_should_hold_says_where_the_values_are(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_outbox, "LONGEST_BODY", 1_500_000)
    waiting = accept_long(core, {"text": LONG}, webhook=HOOK)
    [running] = claim(core, living_worker(core), waiting.id)
    finish_long(core, running, LONG)
    [body] = bodies(core, running.id)
    assert (body["status"], body["input"], body["output"]) == ("succeeded", None, None)
    assert body["left_out"] == ["input", "output"]


def test_an_end_is_recorded_although_its_webhook_cannot_be_filled(core: Core) -> None:
    waiting = accept_long(core, {"text": LONG}, webhook=HOOK)
    [running] = claim(core, living_worker(core), waiting.id)
    core.storage.delete([input_key(waiting.id)])
    assert finish_long(core, running, "x" * INLINE_BYTES).status is Status.SUCCEEDED
    assert bodies(core, running.id)[0]["left_out"] == ["input", "output"]


def stored(core: Core) -> list[str]:
    return [*core.storage.list("inputs/"), *core.storage.list("outputs/")]


def test_removing_the_data_removes_what_was_stored(core: Core) -> None:
    [running] = claim(core, living_worker(core), accept_long(core, {"text": LONG}).id)
    ended = finish_long(core, running, LONG)
    assert len(stored(core)) == 2
    core.removal().remove(ended)
    assert stored(core) == []
    removed = read(core, ended.id)
    assert (removed.input_key, removed.output_key, removed.not_here) == (None, None, ())
    assert shown(core, removed)["data_removed"] is True


def ended_choices(core: Core, count: int) -> list[str]:
    """Ids of predictions that share one stored input."""
    worker, ids = living_worker(core), []
    core.answers.stored.put("inputs/shared.json", JsonText.from_value({"text": LONG}))
    for seed in range(count):
        one = claimed(
            core, worker, input={"seed": seed}, input_bytes=len(LONG), input_key="inputs/shared.json"
        )
        core.lifecycle.finish([ending(one, output="x")])
        ids.append(one.id)
    return ids


def test_a_shared_input_stays_until_the_last_that_has_it_is_removed(core: Core) -> None:
    first, second = ended_choices(core, 2)
    core.removal().remove(read(core, first))
    assert shown(core, read(core, second))["input"] == {"text": LONG, "seed": 1}
    core.removal().remove(read(core, second))
    assert stored(core) == []


def test_two_removals_at_once_leave_no_shared_input_behind(core: Core) -> None:
    removal = core.removal()
    for _ in range(5):
        ids = ended_choices(core, 4)
        threads = [threading.Thread(target=removal.remove_all, args=([each],)) for each in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stored(core) == []


def test_a_sweep_finishes_a_removal_that_was_interrupted(core: Core) -> None:
    [only] = ended_choices(core, 1)
    core.lifecycle.remove_data([only])  # and the process dies before the file is deleted
    assert stored(core) == ["inputs/shared.json"]
    core.recovery().sweep()
    assert stored(core) == []
    assert read(core, only).input_key is None


def test_the_retention_time_removes_what_was_stored(core: Core) -> None:
    core.limits = replace(core.limits, retention_hours=1.0)
    [running] = claim(core, living_worker(core), accept_long(core, {"text": LONG}).id)
    finish_long(core, running, LONG)
    with core.database.unit() as session:
        session.execute(text("UPDATE predictions SET completed_at = now() - interval '2 h'"))
    core.recovery().sweep()
    assert stored(core) == []


def test_what_ends_by_crashes_keeps_what_it_had_said(core: Core) -> None:
    """Its end is written by somebody who has not read its long output."""
    said = ["y" * (LONG_BYTES + 1)]
    running = claimed(core, living_worker(core))
    assert running.worker
    core.lifecycle.save_progress([ProgressUpdate(running.id, 1, running.worker, said, logs="l" * 40_000)])
    core.lifecycle.hand_back([HandBack(running.id, 1, running.worker, crashes=3, reason="it died")])
    ended = read(core, running.id)
    assert (ended.status, ended.output, len(ended.logs)) == (Status.FAILED, said, 40_000)


def test_an_output_of_megabytes_is_not_written_again_and_again_while_it_grows(core: Core) -> None:
    running = claimed(core, living_worker(core))
    assert running.worker
    fence = (running.id, 1, running.worker)
    assert core.lifecycle.save_progress([ProgressUpdate(*fence, ["a"])]) == [True]
    assert core.lifecycle.save_progress([ProgressUpdate(*fence, ["a", LONG], logs="said")]) == [True]
    found = read(core, running.id)
    assert (found.output, found.logs) == (["a"], "said")


async def test_a_budget_is_never_passed_but_by_what_is_larger_alone() -> None:
    budget, held, most = ByteBudget(100), 0, 0

    async def hold(size: int) -> None:
        nonlocal held, most
        async with budget.hold(size):
            held += size
            most = max(most, held if held != size else 0)
            await asyncio.sleep(0.001)
            held -= size

    tasks = [asyncio.create_task(hold(size)) for size in (60, 50, 40, 500, 10, 90, 30, 30, 30, 30) * 3]
    await asyncio.sleep(0.003)
    for task in tasks[::7]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert most <= 100
    async with asyncio.timeout(1):
        await hold(100)

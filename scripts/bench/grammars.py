"""`python -m scripts.bench.grammars`: what answers by a JSON Schema cost their neighbours in the
running batch, and whether they are valid.

A randomly initialised GPT-2 of 12 million parameters continues 16 prompts in this process: all of them
freely, then with half of them by a schema, in turns; the time of a step is what a neighbour feels. Then a
tiny one, whose tokens mean nothing either, answers a thousand times by one of several schemas.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from jsonschema import ValidationError, validate

from app.domain.work import Event, Finished, ModelSpec
from app.runtimes.base import Alone, Job, Runtime
from app.runtimes.demo import SHIPPED
from scripts.bench import random_models
from scripts.bench.stage import Line, show

SLOWER_BAR = 0.10
ROWS, TOKENS = 16, 96
ANSWERS, LONGEST = 1_000, 480
TINY: dict[str, Any] = {"n_embd": 32, "n_layer": 1, "n_head": 2}
WORDS: dict[str, Any] = {"vocab_size": 4_096, "bos_token_id": 0, "eos_token_id": 0}

NAME = {"type": "string", "maxLength": 10}
NUMBER = {"type": "integer", "minimum": -99, "maximum": 999}


def object_of(**properties: Any) -> dict[str, Any]:
    """The schema of an object with all of these and no other members."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


ITEM = object_of(name={"type": "string", "pattern": "^[a-z]{2,6}$"}, kind={"enum": ["whale", "cat"]})
SCHEMAS = (
    object_of(name=NAME, age=NUMBER, is_tame={"type": "boolean"}),
    object_of(items={"type": "array", "items": ITEM, "minItems": 1, "maxItems": 3}),
    object_of(value={"anyOf": [NUMBER, {"type": "null"}, NAME]}, at={"type": "string", "format": "date"}),
    {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 5},
    {"enum": ["yes", "no", 7, None]},
)
# Its answer goes on for as long as it is measured.
ENDLESS = {"type": "array", "items": ITEM, "minItems": 500}


def load(folder: Path, threads: int) -> Runtime:
    """The text runtime with a model of this folder."""
    import torch

    from app.runtimes.text.text_generation import TextGeneration

    torch.set_num_threads(threads)
    return TextGeneration.load(
        ModelSpec("alone", "bench/alone", "text-generation", path=str(folder), threads=threads)
    )


def jobs(runtime: Runtime, inputs: Sequence[dict[str, Any]]) -> list[Job]:
    """Prepared, with their numbers as ids."""
    made = [Job(str(number), dict(values)) for number, values in enumerate(inputs)]
    for job in made:
        runtime.prepare(job)
    return made


def seconds_of_a_step(runtime: Runtime, by_schema: int) -> float:
    """The median time from one token of the last row to its next, when so many rows keep to a schema."""
    plain = {"prompt": "The whale", "max_new_tokens": TOKENS, "temperature": 1, "logit_bias": {"0": -100}}
    inputs = [{**plain, "seed": row} for row in range(ROWS)]
    for values in inputs[:by_schema]:
        values["json_schema"] = ENDLESS
    batch = jobs(runtime, inputs)
    times = [time.perf_counter() for job_id, _ in runtime.run(batch, Alone()) if job_id == batch[-1].id]
    return median(later - earlier for earlier, later in pairwise(times))


def count_valid(runtime: Runtime, count: int) -> tuple[int, int]:
    """(valid answers, answers that the limit of tokens has cut) of so many."""
    inputs = [
        {
            "prompt": "x",
            "json_schema": SCHEMAS[number % len(SCHEMAS)],
            "temperature": 1.0,
            "seed": number,
            "max_new_tokens": LONGEST,
        }
        for number in range(count)
    ]
    endings: dict[str, Event] = dict(runtime.run(jobs(runtime, inputs), Alone()))
    valid = cut = 0
    for number in range(count):
        ending = endings[str(number)]
        if not isinstance(ending, Finished):
            raise RuntimeError(f"answer {number}: {ending}")
        valid += is_valid("".join(ending.output), SCHEMAS[number % len(SCHEMAS)])
        cut += ending.metrics["finish_reason"] == "length"
    return valid, cut


def is_valid(text: str, schema: dict[str, Any]) -> bool:
    """Whether the text is JSON that fits."""
    try:
        validate(json.loads(text), schema)
    except (ValueError, ValidationError) as error:
        print(f"not valid: {text[:200]!r}: {str(error)[:200]}", file=sys.stderr)
        return False
    return True


def measure(middling: Runtime, tiny: Runtime, runs: int) -> list[Line]:
    seconds_of_a_step(middling, ROWS // 2)  # the grammars' tables are made once
    ratios, steps = [], []
    for _ in range(runs):
        free, half = seconds_of_a_step(middling, 0), seconds_of_a_step(middling, ROWS // 2)
        ratios.append(half / free - 1)
        steps.append(free)
    began = time.perf_counter()
    valid, cut = count_valid(tiny, ANSWERS)
    rate = ANSWERS / (time.perf_counter() - began)
    return [
        Line(
            f"a step of {ROWS} rows, {ROWS // 2} of them by a JSON Schema: slower by",
            f"{median(ratios):.1%}",
            f"≤ {SLOWER_BAR:.0%}",
            f"{median(steps) * 1000:.1f} ms, nobody by a schema",
        ),
        Line(
            f"{ANSWERS} answers by {len(SCHEMAS)} schemas, random weights: valid",
            f"{valid} ({rate:.0f}/s; {cut} cut at {LONGEST} tokens)",
            str(ANSWERS),
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.grammars", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with random_models.models_folder() as root:
        words = SHIPPED / "words"
        middling = load(random_models.causal(root / "middling", 1, words, **WORDS), arguments.threads)
        tiny = load(random_models.causal(root / "tiny", 1, words, **WORDS, **TINY), arguments.threads)
        show(measure(middling, tiny, arguments.runs))
    return 0


if __name__ == "__main__":
    sys.exit(main())

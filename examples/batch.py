"""Many predictions from a file: `python batch.py demo/minilm inputs.jsonl outputs.jsonl`.

An input a line, as a JSON object. Sixteen run at once. A line of the output has the input's number, the
prediction's id, and its output or its error. Started again it goes on where it stopped and tries again what
had failed; an Idempotency-Key made of file and line finds what had been sent already. Needs httpx.
"""

import asyncio
import hashlib
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

import httpx

AT_ONCE = 16
TRIES = 8
ENDED = ("succeeded", "failed", "canceled")


async def call(client: httpx.AsyncClient, method: str, path: str, **kwargs: Any) -> Any:
    """The JSON of an answer, or {"error": a sentence}. What may pass is tried again."""
    error = ""
    for _ in range(TRIES):
        try:
            answer = await client.request(method, path, **kwargs)
        except httpx.TransportError as problem:
            error = f"{type(problem).__name__}: {problem}"
            await asyncio.sleep(1)
            continue
        if answer.is_success:
            return answer.json()
        error = f"{answer.status_code}: {answer.text[:500]}"
        if answer.status_code not in (429, 503):
            break
        await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
    return {"error": error}


async def run(client: httpx.AsyncClient, model: str, line: str, key: str) -> dict[str, Any]:
    """One prediction, from its request to its end."""
    try:
        body = {"version": model, "input": json.loads(line)}
    except ValueError as error:
        return {"error": f"the line is not JSON: {error}"}
    headers = {"Idempotency-Key": key, "Prefer": "wait=30"}
    prediction = await call(client, "POST", "/v1/predictions", json=body, headers=headers)
    while prediction.get("status") not in (*ENDED, None):
        await asyncio.sleep(1)
        prediction = await call(client, "GET", f"/v1/predictions/{prediction['id']}")
    if prediction.get("status") == "succeeded":
        return {"id": prediction["id"], "output": prediction["output"]}
    return {"id": prediction.get("id"), "error": prediction.get("error") or prediction.get("status")}


async def run_all(model: str, lines: dict[int, tuple[str, str]], target: TextIO) -> int:
    """Runs (line, idempotency key) of each number; returns how many failed."""
    headers = {"Authorization": f"Bearer {os.environ['LOVAGE_TOKEN']}"}
    url = os.environ.get("LOVAGE_URL", "http://127.0.0.1:8000")
    places, failed = asyncio.Semaphore(AT_ONCE), 0

    async def one(number: int, line: str, key: str) -> None:
        nonlocal failed
        async with places:
            outcome = await run(client, model, line, key)
        failed += "error" in outcome
        target.write(json.dumps({"number": number, **outcome}) + "\n")
        target.flush()

    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=70) as client:
        await asyncio.gather(*(one(number, *line) for number, line in lines.items()))
    return failed


def left_over(model: str, source: Path, target: Path) -> dict[int, tuple[str, str]]:
    """The lines without an output, each with its key: another one after each failure, because a key's
    prediction stays what it is."""
    outcomes = (
        [json.loads(line) for line in target.read_text("utf-8").splitlines()] if target.exists() else []
    )
    done = {outcome["number"] for outcome in outcomes if "error" not in outcome}
    failures = Counter(outcome["number"] for outcome in outcomes if "error" in outcome)
    lines = {}
    for number, line in enumerate(source.read_text("utf-8").splitlines()):
        if number not in done:
            about = f"{source.resolve()} {number} {failures[number]} {model} {line}"
            lines[number] = (line, hashlib.sha256(about.encode()).hexdigest())
    return lines


def main(model: str, source: str, target: str) -> None:
    """Ends with 1 when any failed."""
    lines = left_over(model, Path(source), Path(target))
    with Path(target).open("a", encoding="utf-8") as file:
        failed = asyncio.run(run_all(model, lines, file))
    print(f"{failed} of {len(lines)} failed" if failed else f"{len(lines)} succeeded", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main(*sys.argv[1:4])

"""The calls, and what each must answer. An order is what a client reads; an expectation says what is wrong
with its answer, or nothing. Knows no client."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from scripts.contract.ground import Ground, Json

TEXT = "the whale, the sea and the harpoon"


@dataclass(frozen=True)
class Case:
    """One call of one client."""

    name: str
    order: Json
    is_right: Callable[[Json], bool]


def fails(code: str, *words: str) -> Callable[[Json], bool]:
    """It ends in an error with this code, whose sentence has these words."""

    def is_right(outcome: Json) -> bool:
        error = outcome.get("error") or {}
        return error.get("code") == code and all(word in error["sentence"] for word in words)

    return is_right


def answers(**wanted: Any) -> Callable[[Json], bool]:
    """It answers with these fields among others."""

    def is_right(outcome: Json) -> bool:
        answer = outcome.get("answer") or {}
        return all(answer.get(name) == value for name, value in wanted.items())

    return is_right


def answer_cases(ground: Ground) -> Iterator[Case]:
    """Everything that a worker does for a session."""
    echo, values = {"ask": ground.wish("echo"), "tls": ground.tls}, {"text": TEXT}
    yield Case(
        "a prediction",
        {**echo, "call": "predict", "arguments": {"input": values}},
        answers(status="succeeded", output=TEXT, error="", error_code="", model="demo/echo"),
    )
    yield Case(
        "records are written later where the session asks for speed",
        {
            **echo,
            "ask": ground.wish("echo", records="async"),
            "call": "predict",
            "arguments": {"input": values},
        },
        answers(status="succeeded", output=TEXT),
    )
    streamed = {"input": {**values, "chunks": 4, "seconds": 0.4}}
    yield Case("numbered events", {**echo, "call": "stream", "arguments": streamed}, _is_whole_stream)
    canceled = {"input": {**values, "chunks": 30, "seconds": 20}, "cancel_after": 1}
    yield Case("a cancel", {**echo, "call": "stream", "arguments": canceled}, _is_canceled)
    yield Case(
        "nothing to cancel",
        {**echo, "call": "cancel", "arguments": {"id": "0" * 26}},
        answers(found=False),
    )
    texts = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "values": [TEXT]}]}
    yield Case("ModelInfer with texts", {**echo, "call": "infer", "arguments": texts}, _echoes_text)
    yield Case("ModelInfer with numbers", _order(ground, "graph", "infer", inputs=_rows()), _adds_rows)
    yield Case("pairs to scores", _order(ground, "ranker", "pairs", pairs=PAIRS), _scores_pairs)


def refusal_cases(ground: Ground) -> Iterator[Case]:
    """What is refused, and how that is said."""
    session = ground.session("echo")
    call = {"call": "predict", "arguments": {"input": {"text": TEXT}}, "tls": ground.tls}
    yield from _refused_tokens(ground, session, call)
    yield from _refused_inputs(session, call)
    yield from _refused_wishes(ground)


def _refused_tokens(ground: Ground, session: Json, call: Json) -> Iterator[Case]:
    head, claims, signature = session["token"].split(".")
    wrong = f"{head}.{claims}.{signature[:-6]}{'A' * 6}"
    refused = "unauthenticated"
    yield Case("a wrong token", {"session": {**session, "token": wrong}, **call}, fails(refused, "token"))
    yield Case("no token", {"session": {**session, "token": ""}, **call}, fails(refused))
    expired = ground.token(session, expires_at=int(time.time()) - 60)
    yield Case(
        "an expired token", {"session": {**session, "token": expired}, **call}, fails(refused, "expired")
    )
    elsewhere = ground.token(session, worker="cuda:7@elsewhere")
    yield Case("another worker's token", {"session": {**session, "token": elsewhere}, **call}, fails(refused))
    other = ground.session("minilm")
    yield Case(
        "another model",
        {"session": {**session, "model": other["model"], "version": other["version"]}, **call},
        fails("permission_denied", "demo/echo"),
    )
    short = ground.token(session, expires_at=int(time.time()) + 2)
    streamed = {"call": "stream", "arguments": {"input": {"text": TEXT * 9, "chunks": 200, "seconds": 60}}}
    yield Case(
        "a stream ends with its token",
        {"session": {**session, "token": short}, **call, **streamed},
        fails(refused, "expired"),
    )


def _refused_inputs(session: Json, call: Json) -> Iterator[Case]:
    bad = {**call, "arguments": {"input": {"text": 7}}}
    yield Case("a wrong input", {"session": session, **bad}, fails("invalid_argument", "text"))
    yield Case(
        "no time left", {"session": session, **call, **_slow(), "seconds": 0.5}, fails("deadline_exceeded")
    )


def _refused_wishes(ground: Ground) -> Iterator[Case]:
    wish, asked = ground.wish("echo"), {"call": "ask"}
    yield Case("a wrong key", {"ask": {**wish, "key": "lov_" + "0" * 64}, **asked}, fails("unauthenticated"))
    yield Case("no such model", {"ask": {**wish, "model": "demo/nothing"}, **asked}, fails("not_found"))
    refused = "invalid_request"
    yield Case(
        "another task", {"ask": {**wish, "task": "chat"}, **asked}, fails(refused, "demo/echo", "chat")
    )
    yield Case("no device", {"ask": {**wish, "device": "toaster"}, **asked}, fails(refused, "device"))


def tls_cases(ground: Ground, stranger: Json) -> Iterator[Case]:
    """Mutual TLS: who has no certificate, or speaks plaintext, is refused; the worker is who the platform
    named. `stranger`: a client of another authority."""
    session = ground.session("echo")
    call = {"call": "predict", "arguments": {"input": {"text": TEXT}}, "seconds": 10.0}
    own = {**call, "tls": ground.tls}
    yield Case(
        "over mutual TLS", {"ask": ground.wish("echo"), **own}, answers(status="succeeded", output=TEXT)
    )
    yield Case(
        "the fingerprint makes an authority needless",
        {"session": session, **own, "tls": {**ground.tls, "ca": ""}},
        answers(status="succeeded"),
    )
    unnamed = {**session, "certificate_sha256": ""}
    yield Case("by the authority's word", {"session": unnamed, **own}, answers(status="succeeded"))
    other = {**session, "certificate_sha256": "ab" * 32}
    yield Case(
        "another certificate", {"session": other, **own}, fails("wrong_certificate", "another certificate")
    )
    yield Case("no client certificate", {"session": session, **call, "tls": {}}, fails("unavailable"))
    yield Case(
        "a stranger's certificate", {"session": session, **call, "tls": stranger}, fails("unavailable")
    )
    plain = {**session, "tls": "none"}
    yield Case("plaintext", {"session": plain, **call}, fails("unavailable"))
    unknown = ground.wish("echo", tls={"ca": stranger["ca"]})
    yield Case("an API of an unknown authority", {"ask": unknown, "call": "ask"}, fails("unreachable"))


PAIRS = [["what is a whale", "a whale is a mammal"], ["what is a whale", "harpoons are thrown"]]


def _order(ground: Ground, model: str, call: str, **arguments: Any) -> Json:
    return {"ask": ground.wish(model), "tls": ground.tls, "call": call, "arguments": arguments}


def _slow() -> Json:
    return {"arguments": {"input": {"text": TEXT, "seconds": 20, "chunks": 4}}}


def _rows() -> list[Json]:
    rows = {"datatype": "FP32", "shape": [2, 3]}
    return [{"name": "x", **rows, "values": [1, 2, 3, 4, 5, 6]}, {"name": "y", **rows, "values": [10.5] * 6}]


def _is_whole_stream(outcome: Json) -> bool:
    answer = outcome.get("answer") or {}
    numbers = answer.get("numbers")
    return bool(
        numbers
        and numbers == list(range(1, len(numbers) + 1))
        and "".join(answer["pieces"]) == TEXT
        and len(answer["pieces"]) == 4
        and answer["kinds"][-1] == "done"
        and answer["end"]["status"] == "succeeded"
    )


def _is_canceled(outcome: Json) -> bool:
    return ((outcome.get("answer") or {}).get("end") or {}).get("status") == "canceled"


def _echoes_text(outcome: Json) -> bool:
    [output] = (outcome.get("answer") or {}).get("outputs", {"": {}}).values()
    return bool(output.get("datatype") == "BYTES" and output["values"] == [TEXT])


def _adds_rows(outcome: Json) -> bool:
    outputs = (outcome.get("answer") or {}).get("outputs", {})
    sums = [11.5, 12.5, 13.5, 14.5, 15.5, 16.5]
    return any(each["values"] == sums and each["shape"] == [2, 3] for each in outputs.values())


def _scores_pairs(outcome: Json) -> bool:
    scores = (outcome.get("answer") or {}).get("scores", [])
    return len(scores) == 2 and scores[0] != scores[1] and all(-50 < score < 50 for score in scores)

"""The abuse table: for each row what is sent and what must come back, against a live API process in
production's settings.

Asserted of every answer: one of the row's statuses, never a 5xx, in time, the one shape of errors, no trace,
SQL or path in it; and a good request works afterwards.
"""

import re
import time
from collections import Counter

import pytest
import rows_bodies
import rows_files
import rows_http
import rows_models
import rows_people
import rows_tokens
import rows_webhooks
from _pytest.mark import ParameterSet
from abuse_case import Case
from abuse_stage import Answer, Stage

# Every row of the list of inputs that are refused, with what is expected of it. A row is never removed.
ROWS = {
    "malformed-bodies": (
        "empty, truncated, two documents, no object, invalid UTF-8, UTF-16, comments: 400 or 422"
    ),
    "content-types": "another content type, a gzip bomb, any Content-Encoding: 415 (or 400, 413, 422)",
    "nesting": "1,000 and 100,000 levels: 400, 413 or 422; 64 are allowed",
    "giant-bodies": (
        "99 GB declared, 64 MB sent, 64 MB in chunks: 413 before parsing, and the memory comes back"
    ),
    "broken-http": (
        "a negative length, length and chunks, 256 kB of header, 128 kB of URL, no HTTP: 400, 414, 431 or"
        " closed"
    ),
    "half-sent": (
        "150 requests that stop in the middle: others are served within 2 s, heads are given up after 10 s"
    ),
    "nul": "NUL in any text: 422",
    "odd-text": "a lone surrogate: 422; control characters, RTL, emoji, combining marks: kept unchanged",
    "not-numbers": 'NaN, Infinity, 1e999, "NaN": 422, and the answer does not repeat them',
    "huge-integers": "above 2^63 or of 20,000 digits: 400 or 422",
    "max-new-tokens": (
        "negative, zero, fractional, truth, text, 10^9: 422; every number has a maximum in its schema"
    ),
    "long-prompt": "5 MB: 413 or 422; the longest that is allowed ends within 60 s",
    "model-schema": "missing, unknown, of another type: 422 by name, nothing queued",
    "client-set-fields": "status, user_id, is_admin and their like: 422",
    "names": "model and version ids with .., /, NUL, 100 kB, SQL: 404 or 422",
    "sources": (
        "/etc/passwd, file://, .., URLs, a/b/c, options, $(..): 422 (403 if that kind is for administrators)"
    ),
    "weights": "pickled weights, auto_map, trust_remote_code: 422 or 403",
    "webhook-addresses": (
        "loopback in every spelling, private and reserved ranges: 422, and nobody was called"
    ),
    "webhook-rebinding": (
        "a name that resolves to another address, a redirect to an inner one: not sent, noted"
    ),
    "webhook-schemes": "other schemes, credentials, CR and LF, ports: 422",
    "file-inputs": "file://, paths, inner URLs, no picture, a cut PNG, an SVG with entities: 422",
    "image-bombs": (
        "30,000 x 30,000, 2^31 pixels claimed, a zip bomb: 422, or `invalid_input`; the child survives"
    ),
    "tokens": (
        "none, garbage, alg none, RS256 by HMAC, jwk, jku, kid, common secrets, changed, expired,"
        " elsewhere: 401"
    ),
    "scopes": "a scope that the credential lacks: 403",
    "other-people": "their predictions, files, models, keys: 404, lists leave them out, nothing changes",
    "idempotency": "same key: same id; another body: 422; twelve at once: one id; another user: their own",
    "wrong-passwords": (
        "40, with changing X-Forwarded-For: 429 with Retry-After, for each account and each address"
    ),
    "unknown-users": "the same answer as for a wrong password, in the same time",
    "passwords": "1 MB: 413; NUL, a number: 422 before hashing; each byte of a long one counts",
    "register-admin": "a role of one's own choice: 422",
    "lists": "limit=-1, limit=10^9, cursor=garbage: 422",
    "paths": "tricks in file names, %2e%2e, %00, //: 404",
    "rate-limits": "more than allowed, from forged addresses: 429",
}
MODULES = (rows_bodies, rows_http, rows_models, rows_webhooks, rows_files, rows_people, rows_tokens)
CASES: list[Case] = [case for module in MODULES for case in module.CASES]
LEAKS = re.compile(
    rb"Traceback|File \"|psycopg|sqlalchemy|SELECT |INSERT INTO|UPDATE |site-packages|/tmp/|/app/|\.py\b"
)


def _parameter(case: Case) -> ParameterSet:
    marks = [pytest.mark.alone] if case.alone else []
    return pytest.param(case, id=f"{case.row}: {case.name}", marks=marks)


def test_every_row_has_its_cases() -> None:
    cases = Counter(case.row for case in CASES)
    assert cases.keys() == ROWS.keys()
    assert len(ROWS) == 33
    assert len({(case.row, case.name) for case in CASES}) == len(CASES), "two cases of one name"


@pytest.mark.parametrize("case", [_parameter(case) for case in CASES])
def test_abuse(case: Case, stage: Stage) -> None:
    began = time.monotonic()
    answers = answers_of(case, stage)
    assert time.monotonic() - began < case.seconds
    for answer in answers:
        assert answer.status in case.statuses, answer
        assert case.says.encode() in answer.body, answer
        assert_harmless(answer)
    stage.still_serves()


def answers_of(case: Case, stage: Stage) -> list[Answer]:
    found = case.act(stage)
    return [] if found is None else [found] if isinstance(found, Answer) else list(found)


def assert_harmless(answer: Answer) -> None:
    """No 5xx, no leak, and errors in their shape."""
    assert answer.status < 500
    if answer.status < 400:
        return
    assert not LEAKS.search(answer.body), answer.body[:2_000]
    assert len(answer.body) < 10_000
    body = answer.json()
    if "error" in body:  # the routes of other protocols have their clients' shapes: OpenAI's, TEI's
        error = body["error"]
        assert isinstance(error if isinstance(error, str) else error["message"], str)
        return
    assert answer.headers["content-type"] == "application/problem+json"
    assert isinstance(body["detail"], str)
    assert body["status"] == answer.status

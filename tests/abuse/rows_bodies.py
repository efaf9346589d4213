"""Rows about the bytes of a request's body: what is no JSON, what is too much of it, and values that nobody
can keep."""

import gzip
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from abuse_case import CREATE, GIANT, Act, Case, gets, posts, sends
from abuse_stage import JSON, MEMORY_BACK, MODEL, Answer, Person, Stage

WANTED = b'{"version": "ada/echo", "input": {"text": %s}}'
REFUSED = (400, 422)
REGISTER, MODELS = "/v1/auth/register", "/v1/models"
MB = 1 << 20

MALFORMED = {
    "empty": b"",
    "truncated": b'{"version": "ada/ec',
    "two documents": b'{"a":1}{"b":2}',
    "array": b"[]",
    "null": b"null",
    "number": b"5",
    "text": b'"x"',
    "true": b"true",
    "invalid UTF-8": b'{"version": "\xff\xfe"}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "comments": b'/* hi */ {"version": "ada/echo", "input": {}} // there',
    "single quotes": b"{'a': 1}",
    "trailing comma": b'{"a":1,}',
    "only a BOM": b"\xef\xbb\xbf",
    "spaces": b" \n\t ",
}


def deep(levels: int, opening: bytes, closing: bytes) -> bytes:
    return opening * levels + b"1" + closing * levels


def malformed() -> Iterator[Case]:
    for name, body in MALFORMED.items():
        yield sends("malformed-bodies", name, body, REFUSED)
    for path in (MODELS, REGISTER, "/v1/keys", "/v1/chat/completions", "/v1/embeddings"):
        for name in ("empty", "truncated", "null", "array", "invalid UTF-8", "UTF-16"):
            yield sends("malformed-bodies", f"{name} at {path}", MALFORMED[name], REFUSED, path=path)


def content_types() -> Iterator[Case]:
    bomb = gzip.compress(b" " * (50 * MB))
    other = (415, 400, 413, 422)
    body = WANTED % b'"x"'
    for kind in (
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "x",
    ):
        yield sends("content-types", kind, body, other, headers={"Content-Type": kind})
    for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "compress", "x" * 1000):
        yield sends(
            "content-types", f"encoding {coding[:20]}", body, other, headers={"Content-Encoding": coding}
        )
    yield sends("content-types", "a gzip bomb", bomb, other, headers={"Content-Encoding": "gzip"})
    yield sends("content-types", "a gzip bomb without a word", bomb, other)
    yield sends(
        "content-types",
        "a second encoding hidden behind identity",
        bomb,
        other,
        headers={"Content-Encoding": "identity", "content-encoding": "gzip"},
    )
    yield sends("content-types", "JSON to the form of the login", body, other, path="/v1/auth/token")
    yield sends("content-types", "JSON as an upload", body, other, path="/v1/files")


def nesting() -> Iterator[Case]:
    statuses = (400, 413, 422)
    for levels in (65, 1_000, 100_000, 1_000_000):
        yield sends("nesting", f"arrays, {levels} deep", deep(levels, b"[", b"]"), statuses)
        yield sends("nesting", f"objects, {levels} deep", deep(levels, b'{"a":', b"}"), statuses)
    inside = WANTED % deep(70, b"[", b"]")
    yield sends("nesting", "70 deep inside the input", inside, statuses)
    yield sends("nesting", "opened and never closed", b"[" * 500_000, statuses)
    for path in (MODELS, "/v1/chat/completions"):
        yield sends("nesting", f"100,000 deep at {path}", deep(100_000, b"[", b"]"), statuses, path=path)
    yield Case("nesting", "100,000 deep in a file's metadata", deep_metadata, statuses)


def deep_metadata(stage: Stage) -> Answer:
    parts = {"content": ("a.txt", b"x"), "metadata": ("m.json", deep(30_000, b"[", b"]"), "application/json")}
    return Answer.of(stage.ada.http.post("/v1/files", files=parts))


def head(stage: Stage, path: str = CREATE, *lines: str) -> bytes:
    return (
        "\r\n".join(
            [
                f"POST {path} HTTP/1.1",
                "Host: x",
                f"Authorization: Bearer {stage.ada.key}",
                "Content-Type: application/json",
                *lines,
            ]
        ).encode()
        + b"\r\n\r\n"
    )


def chunks(count: int) -> Iterator[bytes]:
    block = b"100000\r\n" + b" " * MB + b"\r\n"
    yield from (block for _ in range(count))
    yield b"0\r\n\r\n"


def giants() -> Iterator[Case]:
    acts: dict[str, Act] = {
        "99 GB declared": lambda stage: stage.raw(head(stage, CREATE, "Content-Length: 99000000000")),
        "99 GB declared, expecting to be asked": lambda stage: stage.raw(
            head(stage, CREATE, "Content-Length: 99000000000", "Expect: 100-continue")
        ),
        "64 MB in chunks without a length": lambda stage: stage.raw(
            head(stage, CREATE, "Transfer-Encoding: chunked"), *chunks(64)
        ),
        "64 MB in chunks, by an ordinary client": chunked_by_a_client,
        "a file over the limit of files": giant_file,
        "eight at once": eight_at_once,
    }
    for path in (CREATE, "/v1/auth/token", MODELS, "/v1/chat/completions"):
        acts[f"64 MB to {path}"] = lambda stage, path=path: stage.ada.call("POST", path, b" " * (64 * MB))
    for name, act in acts.items():
        yield Case("giant-bodies", name, kept_small(act), (413,), GIANT)
    digits = "Content-Length: " + "9" * 400
    yield Case(
        "giant-bodies",
        "a length of 400 digits",
        lambda stage: stage.raw(head(stage, CREATE, digits)),
        (413, 400),
    )


def chunked_by_a_client(stage: Stage) -> Answer:
    blocks = (b" " * MB for _ in range(64))
    return Answer.of(stage.ada.http.post(CREATE, content=blocks, headers=JSON))


def giant_file(stage: Stage) -> Answer:
    """Chunked, so that only counting tells; sparse, so that it costs no memory here."""
    with tempfile.TemporaryFile() as file:
        file.truncate(101 * MB)
        opening = b'--x\r\nContent-Disposition: form-data; name="content"; filename="a"\r\n\r\n'
        blocks = (opening if n == 0 else file.read(MB) for n in range(103))
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        return Answer.of(stage.ada.http.post("/v1/files", content=blocks, headers=headers))


def eight_at_once(stage: Stage) -> list[Answer]:
    request = head(stage, CREATE, "Transfer-Encoding: chunked")
    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(lambda _: stage.raw(request, *chunks(16)), range(8)))


def kept_small(act: Act) -> Act:
    """The act; afterwards the server's memory must be what it was, within 400 MB."""

    def watched(stage: Stage) -> Answer | Iterable[Answer] | None:
        before = stage.memory()
        answers = act(stage)
        assert stage.memory() - before < MEMORY_BACK
        return answers

    return watched


def nul() -> Iterator[Case]:
    row, statuses = "nul", (422,)
    yield sends(row, "in an input", WANTED % b'"a\\u0000b"', statuses)
    yield sends(row, "in an input's name", b'{"version":"ada/echo","input":{"a\\u0000":1}}', statuses)
    yield sends(row, "raw", b'{"version":"ada/echo\x00","input":{}}', statuses)
    yield sends(row, "in a version", b'{"version":"ada/echo\\u0000","input":{}}', statuses)
    yield sends(
        row,
        "in a webhook",
        b'{"version":"ada/echo","input":{},"webhook":"https://example.com/\\u0000"}',
        statuses,
    )
    yield sends(
        row, "in a model's description", b'{"name":"m","description":"a\\u0000"}', statuses, path=MODELS
    )
    yield sends(
        row,
        "in a model's source",
        b'{"name":"m","version":{"source":"path:a\\u0000b"}}',
        statuses,
        path=MODELS,
    )
    yield sends(
        row,
        "in a username",
        b'{"email":"a@b.cd","username":"a\\u0000","password":"long enough"}',
        statuses,
        path=REGISTER,
    )
    yield sends(
        row,
        "in a key's name",
        b'{"name":"a\\u0000","scopes":["predict"]}',
        statuses,
        path="/v1/keys",
        who=lambda stage: stage.person("root", admin=True),
    )
    yield sends(
        row, "in a prompt", b'{"model":"demo/words","prompt":"a\\u0000"}', (400, 422), path="/v1/completions"
    )
    yield Case(
        row, "in a list's query", lambda stage: stage.ada.call("GET", f"{CREATE}?model=a%00b"), statuses
    )
    yield Case(row, "in a search", lambda stage: stage.ada.call("GET", "/v1/models?query=a%00b"), (200, 422))
    yield Case(row, "in a login", lambda stage: form(stage, "a\x00b", "wrong\x00password"), (401, 422))
    yield Case(row, "in a file's metadata", nul_metadata, statuses)


def form(stage: Stage, username: str, password: str) -> Answer:
    with stage.somebody() as client:
        return Answer.of(client.post("/v1/auth/token", data={"username": username, "password": password}))


def nul_metadata(stage: Stage) -> Answer:
    parts = {"content": ("a.txt", b"x")}
    return Answer.of(stage.ada.http.post("/v1/files", files=parts, data={"metadata": '{"a": "\\u0000"}'}))


ODD = {
    "right to left": "\u202eabc\u202c",
    "5,000 combining marks": "e" + "\u0301" * 5_000,
    "emoji": "🙂👩‍👩‍👧‍👦🏴‍☠️",
    "control characters": "\x07\x1b[31m\x7f\x01",
    "line separators": "\u2028\u2029\r\n",
    "a BOM inside": "a\ufeffb",
    "not a character": "\uffff\U0010ffff",
}


def odd_text() -> Iterator[Case]:
    row = "odd-text"
    for name, surrogate in {"high": b"\\ud800", "low": b"\\udc00", "swapped": b"\\udc00\\ud800"}.items():
        yield sends(row, f"{name} surrogate", WANTED % (b'"' + surrogate + b'"'), (422,))
        yield sends(
            row, f"{name} surrogate in a name", b'{"version":"ada/echo","input":{"%s":1}}' % surrogate, (422,)
        )
    yield sends(row, "surrogate in bytes", WANTED % b'"\xed\xa0\x80"', (400, 422))
    yield sends(
        row, "surrogate in a description", b'{"name":"m","description":"\\ud800"}', (422,), path=MODELS
    )
    for name, text in ODD.items():
        yield Case(row, name, lambda stage, text=text: echoed(stage.ada, text), (201, 200))


def echoed(person: Person, text: str) -> Iterator[Answer]:
    made = person.post(CREATE, {"version": MODEL, "input": {"text": text}})
    yield made
    kept = person.call("GET", f"{CREATE}/{made.json()['id']}")
    yield kept
    assert made.json()["input"]["text"] == kept.json()["input"]["text"] == text


def numbers() -> Iterator[Case]:
    row, timeout = "not-numbers", b'{"name":"m","version":{"config":{"timeout":%s}}}'
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b'"NaN"', b'"Infinity"'):
        body = b'{"version": "ada/echo", "input": {"text": "x", "seconds": %s}}' % number
        yield sends(row, number.decode(), body, (422,))
        yield sends(row, f"{number.decode()} where pydantic reads", timeout % number, (422,), path=MODELS)
    prompt = b'{"model":"demo/words","prompt":"x","%s":%s}'
    yield sends(
        row, "NaN as a temperature", prompt % (b"temperature", b"NaN"), REFUSED, path="/v1/completions"
    )
    row, huge = (
        "huge-integers",
        {"2^63": b"%d" % 2**63, "-2^63-1": b"%d" % (-(2**63) - 1), "20,000 digits": b"9" * 20_000},
    )
    for name, number in huge.items():
        body = b'{"version": "ada/echo", "input": {"text": "x", "chunks": %s}}' % number
        yield sends(row, name, body, REFUSED)
        yield sends(row, f"{name} where pydantic reads", timeout % number, REFUSED, path=MODELS)
        yield sends(
            row, f"{name} as max_tokens", prompt % (b"max_tokens", number), REFUSED, path="/v1/completions"
        )
        yield gets(row, f"{name} as a limit", f"{CREATE}?limit={number.decode()}", (422, 414))


def wanted_tokens() -> Iterator[Case]:
    row = "max-new-tokens"
    for value in (-1, 1.5, True, "5", 10**9, 2**53, [], {}):
        body = {"version": "demo/words", "input": {"prompt": "x", "max_new_tokens": value}}
        yield posts(row, repr(value), body, (422,))
    yield Case(row, "every number of every runtime has a maximum", every_number_is_bounded, ())


def every_number_is_bounded(stage: Stage) -> None:
    found = list(unbounded(stage.ada.call("GET", "/v1/runtimes").json(), ""))
    assert not found, found


def unbounded(value: object, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        if value.get("type") in ("integer", "number") and not value.keys() & {
            "maximum",
            "exclusiveMaximum",
            "enum",
        }:
            yield path
        for name, part in value.items():
            yield from unbounded(part, f"{path}.{name}") if "output" not in name else ()
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from unbounded(part, f"{path}.{number}")


def long_prompts() -> Iterator[Case]:
    row, prompt, refused = "long-prompt", "word " * MB, (400, 413, 422)
    message = {"role": "user", "content": prompt}
    yield posts(
        row, "5 MB for a text generator", {"version": "demo/words", "input": {"prompt": prompt}}, refused
    )
    yield posts(row, "5 MB for the echo", {"version": MODEL, "input": {"text": prompt}}, refused)
    yield posts(
        row, "5 MB to complete", {"model": "demo/words", "prompt": prompt}, refused, path="/v1/completions"
    )
    yield posts(
        row,
        "5 MB to chat",
        {"model": "demo/words", "messages": [message]},
        refused,
        path="/v1/chat/completions",
    )
    yield Case(row, "as long as is allowed, cut by the model's own window", longest_prompt, (201,), 120)


def longest_prompt(stage: Stage) -> Answer:
    """A million characters are accepted; the run ends within a minute."""
    assert stage.worker
    body = {"version": "demo/words", "input": {"prompt": "word " * 199_999, "max_new_tokens": 3}}
    made = stage.ada.post(CREATE, body)
    ended = stage.ended(stage.ada, made, 60)
    assert ended["status"] in ("succeeded", "failed"), ended
    return made


CASES = [
    case
    for rows in (
        malformed,
        content_types,
        nesting,
        giants,
        nul,
        odd_text,
        numbers,
        wanted_tokens,
        long_prompts,
    )
    for case in rows()
]

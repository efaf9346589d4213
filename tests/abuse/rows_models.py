"""Rows about models: inputs that do not fit, fields that are not the caller's, names, sources, weights."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from abuse_case import CREATE, Case, gets, posts
from abuse_stage import MODEL, Answer, Stage

MODELS = "/v1/models"
WRONG_INPUTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "missing": ("demo/words", {}, "prompt"),
    "null": ("demo/words", {"prompt": None}, "prompt"),
    "unknown": ("demo/words", {"prompt": "x", "nothing": 1}, "nothing"),
    "a number for a text": ("demo/words", {"prompt": 5}, "prompt"),
    "a list for a text": ("demo/words", {"prompt": ["x"]}, "prompt"),
    "an object for a text": ("demo/words", {"prompt": {"a": "b"}}, "prompt"),
    "a text for a number": ("demo/words", {"prompt": "x", "temperature": "hot"}, "temperature"),
    "a number out of its bounds": ("demo/words", {"prompt": "x", "temperature": 1e6}, "temperature"),
    "a text for a truth": (MODEL, {"text": "x", "fail": {"a": 1}}, "fail"),
    "a fraction for a whole number": (MODEL, {"text": "x", "chunks": 1.5}, "chunks"),
    "a name of 100 kB": (MODEL, {"k" * 100_000: 1}, "input"),
    "a name with dots": (MODEL, {"input.text": 1}, "input.text"),
    "the name of a special thing": (MODEL, {"__proto__": {}, "constructor": 1}, "input"),
}
SET_BY_CLIENT = {
    "status": "succeeded",
    "user_id": "6f1c0a52-0000-4000-8000-000000000000",
    "is_admin": True,
    "id": "0" * 26,
    "output": "mine",
    "attempt": 9,
    "created_at": "2000-01-01T00:00:00Z",
    "worker": "x",
    "source": "api",
    "metrics": {},
    "error": "x",
    "urls": {},
    "queue": "cuda:0@elsewhere",
}
NAMES = {
    "two dots": "..",
    "a way out": "../../etc/passwd",
    "dots in a name": "ada/..",
    "three parts": "ada/echo/x",
    "a backslash": "ada\\echo",
    "SQL": "x'; DROP TABLE users; --",
    "more SQL": "ada/echo' OR '1'='1",
    "100 kB": "x" * 100_000,
    "100 kB of slashes": "/" * 100_000,
    "nothing": "",
    "a space": "ada/ec ho",
    "markup": "<script>alert(1)</script>",
    "a template": "{{7*7}}${7*7}%s%n",
    "another's alphabet": "аda/echo",
    "percent": "ada%2fecho",
    "a colon too many": "ada/echo:a:b",
    "upper case": "ADA/ECHO",
    "a newline": "ada/echo\n",
    "a version of 65 letters": "g" * 65,
    "no version": "ada/echo:" + "0" * 64,
}
SOURCES = (
    "/etc/passwd",
    "file:///etc/passwd",
    "file://localhost/etc",
    "path:/etc",
    "path:/etc/passwd",
    "path:..",
    "path:../../etc",
    "path:words/../../..",
    "path:",
    "path:~/x",
    "path:%2e%2e",
    "http://127.0.0.1",
    "https://example.com/model.tar.gz",
    "a/b/c",
    "hf:a/b/c",
    "hf:../etc",
    "hf:a/..",
    "hf:--upload-pack=touch",
    "hf:a/b@--upload-pack=touch /tmp/x",
    "--upload-pack=touch x",
    "git+ssh://git@example.com/x",
    "git://example.com/x",
    "$(touch x)",
    "hf:$(touch x)",
    "`touch x`",
    "hf:a/b;touch x",
    "hf:a/b\nc",
    "s3://",
    "s3://../x",
    "s3://UPPER/x",
    "ftp://example.com/x",
    "gopher://x",
    "data:,x",
    "x" * 600,
    "none ",
    "",
    "hf:",
)


def asks_for(stage, body):
    return nothing_queued(stage, body)


def schema() -> Iterator[Case]:
    for name, (model, given, field) in WRONG_INPUTS.items():
        act = partial(asks_for, body={"version": model, "input": given})
        yield Case("model-schema", name, act, (422,), says=field)
    for name, value in {"a list": [], "a text": "x", "null": None, "a number": 1}.items():
        act = lambda stage, value=value: nothing_queued(stage, {"version": MODEL, "input": value})  # noqa: E731
        yield Case("model-schema", f"an input that is {name}", act, (422,), says="input")
    yield Case(
        "model-schema",
        "no input",
        lambda stage: nothing_queued(stage, {"version": MODEL}),
        (422,),
        says="input",
    )
    yield Case(
        "model-schema", "no model", lambda stage: nothing_queued(stage, {"input": {}}), (422,), says="version"
    )


def nothing_queued(stage: Stage, body: dict[str, Any]) -> Answer:
    person = stage.person("careless")
    answer = person.post(CREATE, body, headers={"Prefer": "handling=strict"})
    listed = person.call("GET", CREATE)
    assert listed.json()["results"] == [], listed
    return answer


def client_fields() -> Iterator[Case]:
    for name, value in SET_BY_CLIENT.items():
        body = {"version": MODEL, "input": {"text": "x"}, name: value}
        yield posts("client-set-fields", name, body, (422,), says=name)
    for name in ("owner_id", "is_admin", "run_count", "created_at", "id"):
        yield posts(
            "client-set-fields",
            f"{name} of a model",
            {"name": "mine", name: 1},
            (422,),
            path=MODELS,
            says=name,
        )
    other = {"owner": "grace", "name": "mine"}
    yield posts("client-set-fields", "another's name as the owner", other, (403,), path=MODELS, says="owner")
    key = {"name": "k", "scopes": ["predict"], "user_id": "x"}
    yield posts("client-set-fields", "whose a key is", key, (422, 403), path="/v1/keys")


def names() -> Iterator[Case]:
    for name, text in NAMES.items():
        yield posts("names", f"{name} as a version", {"version": text, "input": {}}, (404, 422))
        yield posts("names", f"{name} as a model", {"model": text, "input": {}}, (404, 422))
        yield posts(
            "names",
            f"{name} to complete",
            {"model": text, "prompt": "x"},
            (404, 422, 400),
            path="/v1/completions",
        )
        yield posts("names", f"{name} for a new model", {"name": text}, (422,), path=MODELS, says="name")
    for path in (
        f"{MODELS}/ada/%00",
        f"{MODELS}/ada/..%2f",
        f"{MODELS}/ada/echo/versions/%00",
        f"{MODELS}/ada/echo/versions/" + "x" * 9_000,
    ):
        yield gets("names", path[:50], path, (404, 422))
    for ending in ("", "/versions", "/readme", "/examples"):
        yield gets("names", f"SQL before {ending}", f"{MODELS}/ada/x'%20OR%201=1--{ending}", (404,))


def sources() -> Iterator[Case]:
    for source in SOURCES:
        body = {"name": "mine", "version": {"source": source, "runtime": "text-generation"}}
        yield posts("sources", repr(source)[:50], body, (422,), path=MODELS, says="source")
    yield posts(
        "sources",
        "a bucket, by a user",
        {"name": "mine", "version": {"source": "s3://bucket/x"}},
        (403,),
        path=MODELS,
    )
    yield Case("sources", "a link out of the root", linked_out, (422,), says="source")


def linked_out(stage: Stage) -> Iterator[Answer]:
    (stage.roots / "out").symlink_to("/etc")
    (stage.roots / "inside").mkdir()
    (stage.roots / "inside" / "model.safetensors").symlink_to("/etc/passwd")
    for source in ("path:out", "path:inside"):
        yield stage.ada.post(
            MODELS, {"name": "mine", "version": {"source": source, "runtime": "text-generation"}}
        )


WEIGHTS = (
    "pytorch_model.bin",
    "model.pt",
    "model.pth",
    "model.pkl",
    "model.ckpt",
    "model.pickle",
    "model.joblib",
    "tf_model.h5",
)
GPT2: dict[str, Any] = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
OWN_CODE: dict[str, Any] = {"auto_map": {"AutoModelForCausalLM": "evil.Model"}}


def weights() -> Iterator[Case]:
    for name in WEIGHTS:
        yield Case(
            "weights",
            name,
            lambda stage, name=name: registered(stage, {name: "x"}, GPT2),
            (422, 403),
            says="source",
        )
    safe = {"model.safetensors": "x"}
    yield Case(
        "weights",
        "auto_map",
        lambda stage: registered(stage, safe, GPT2 | OWN_CODE),
        (422, 403),
        says="auto_map",
    )
    yield Case("weights", "auto_map of the tokenizer", tokenizer_map, (422, 403), says="auto_map")
    yield Case(
        "weights",
        "trust_remote_code as a configuration",
        lambda stage: registered(stage, safe, GPT2, trust_remote_code=True),
        (422, 403),
        says="trust_remote_code",
    )
    yield Case(
        "weights",
        "somebody's Python",
        lambda stage: registered(stage, {"predictor.py": "x = 1"}, {}, "python"),
        (403,),
    )
    yield Case("weights", "a pickle by the name of safetensors", disguised, (422,), says="safetensors")


def tokenizer_map(stage: Stage) -> Answer:
    files = {
        "model.safetensors": "x",
        "tokenizer_config.json": json.dumps({"auto_map": {"AutoTokenizer": ["evil.Tokens", None]}}),
    }
    return registered(stage, files, GPT2)


def registered(
    stage: Stage,
    files: dict[str, str],
    config: dict[str, Any],
    runtime: str = "text-generation",
    **options: Any,
) -> Answer:
    number = len(list(stage.roots.iterdir()))
    folder = stage.roots / f"m{number}"
    folder.mkdir()
    for name, content in {"config.json": json.dumps(config), **files}.items():
        (folder / name).write_text(content)
    version = {"source": f"path:m{number}", "runtime": runtime, "config": options}
    return stage.ada.post(MODELS, {"name": f"m{number}", "version": version})


PICKLE = "cos\nsystem\n(S'touch {}'\ntR."


def disguised(stage: Stage) -> Answer:
    """Its first bytes are read, which are not those of safetensors: it is refused, and nothing of it is
    run."""
    mark = stage.roots / "mark"
    made = registered(stage, {"model.safetensors": PICKLE.format(mark)}, GPT2)
    assert not mark.exists()
    return made


CASES = [case for rows in (schema, client_fields, names, sources, weights) for case in rows()]

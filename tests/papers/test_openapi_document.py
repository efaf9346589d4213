"""The committed OpenAPI document is the one that the routes make; it names every error and shows an example
of every body and of every answer."""

import json
import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

from scripts.openapi_document import TARGET, document

# Probes are asked all the time by machines that send no credential; whoever limits them takes the platform
# down.
NEVER_LIMITED = {
    "oip.live",
    "oip.ready",
    "platform.index",
    "platform.health",
    "platform.livez",
    "platform.ready",
    "platform.readyz",
}
# Other platforms' shapes of errors have one status for whatever is wrong with a request.
OTHERS = ("anthropic.", "oip.", "ollama.", "openai.", "rerank.", "score.", "tei.")
CODES = {
    "400": "bad_request",
    "401": "unauthenticated",
    "403": "forbidden",
    "404": "not_found",
    "409": "conflict",
    "410": "gone",
    "413": "payload_too_large",
    "415": "unsupported_media_type",
    "422": "invalid_request",
    "429": "too_many_requests",
    "500": "error",
    "503": "unavailable",
}

MADE = json.loads(document())
OPERATIONS = {one["operationId"]: one for methods in MADE["paths"].values() for one in methods.values()}


def test_the_committed_document_is_current() -> None:
    assert TARGET.read_text("utf-8") == document(), "run: python -m scripts.openapi_document"


def test_operations_have_names_that_do_not_change_with_their_code() -> None:
    """FastAPI's own ids hold the function's name and the path; ours are noun.verb, as the clients call
    them."""
    found = [one["operationId"] for methods in MADE["paths"].values() for one in methods.values()]
    assert len(found) == len(set(found)) > 40
    assert not [name for name in found if not re.fullmatch(r"[a-z]+(\.[a-z]+)+", name)]


def wrong_request(operation: dict[str, Any]) -> bool:
    """Whether something about a call can be wrong beside its path and its credential."""
    return "requestBody" in operation or any(one["in"] == "query" for one in operation.get("parameters", ()))


def due(name: str, operation: dict[str, Any]) -> Iterator[str]:
    """The errors that the operation must declare."""
    yield "500"
    if name not in NEVER_LIMITED:
        yield from ("429", "503")
    if operation.get("security") != []:
        yield "401"
    if wrong_request(operation):
        yield "400" if name.startswith(OTHERS) else "422"
    if "requestBody" in operation:
        yield "413"


def test_every_operation_declares_the_errors_that_it_can_answer_with() -> None:
    missing = {name: set(due(name, one)) - set(one["responses"]) for name, one in OPERATIONS.items()}
    assert {name: codes for name, codes in missing.items() if codes} == {}


def test_every_error_has_the_shape_of_errors() -> None:
    shapes = {
        json.dumps({kind: media["schema"] for kind, media in answer["content"].items()}, sort_keys=True)
        for name, one in OPERATIONS.items()
        for status, answer in one["responses"].items()
        if status >= "400"
        and name not in ("platform.ready", "platform.readyz")
        and not name.startswith(OTHERS)
    }
    assert len(shapes) == 1
    assert "application/problem+json" in shapes.pop()


def bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, one in OPERATIONS.items():
        for kind, media in one.get("requestBody", {}).get("content", {}).items():
            yield name, kind, media


def whole(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with what its references mean."""
    return {**schema, "components": MADE["components"]}


def examples(schema: dict[str, Any]) -> list[Any]:
    """Those of a schema, of what it refers to, or of one of its choices."""
    if "$ref" in schema:
        return examples(MADE["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    return [
        *schema.get("examples", ()),
        *(example for one in schema.get("anyOf", ()) for example in examples(one)),
    ]


def test_no_two_schemas_of_one_name_bear_the_names_of_their_modules() -> None:
    assert not [name for name in MADE["components"]["schemas"] if "__" in name]


def test_every_body_has_an_example_that_its_schema_takes() -> None:
    for name, kind, media in bodies():
        found = [media["example"]] if "example" in media else examples(media["schema"])
        assert found, f"{name} ({kind}) shows no example"
        for example in found:
            faults = [
                error.message for error in Draft202012Validator(whole(media["schema"])).iter_errors(example)
            ]
            assert not faults, f"{name} ({kind}): {faults}"


def answers() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for name, one in OPERATIONS.items():
        for status, answer in one["responses"].items():
            for kind, media in answer.get("content", {}).items():
                yield name, status, kind, media


def test_every_answer_has_an_example_that_its_schema_takes() -> None:
    validators: dict[str, Draft202012Validator] = {}
    for name, status, kind, media in answers():
        schema = media.get("schema") or {}
        found = [media["example"]] if "example" in media else examples(schema)
        assert found or kind.startswith(("audio/", "*/*")) or schema.get("format") == "binary", (
            name,
            status,
            kind,
        )
        key = json.dumps(schema)
        for example in found:
            validator = validators.setdefault(key, Draft202012Validator(whole(schema)))
            assert not [error.message for error in validator.iter_errors(example)], (name, status, example)


def test_an_error_is_shown_with_its_own_status_and_code() -> None:
    for name, status, kind, media in answers():
        if kind == "application/problem+json":
            example = media["example"]
            assert (example["status"], example["code"]) == (int(status), CODES[status]), name

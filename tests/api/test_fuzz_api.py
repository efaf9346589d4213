"""Every operation of our own OpenAPI document, called with what schemathesis makes of it, right and wrong.

Asserted of each answer: no fault of the server, a status that the document names, a body of the schema that
it gives. `make test` tries a few examples of each operation, always the same; LOVAGE_FUZZ_EXAMPLES (`make
fuzz`) that many others.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from api_hand_worker import HandWorker
from api_people import Person, Server
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from model_folders import write_model
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.domain.predictions import Prediction, Status
from app.events.channels import ChunkFrame
from app.json_text import JsonText
from app.services.predictions.lifecycle import Ending, ProgressUpdate

DOCUMENT = Path(__file__).parents[2] / "openapi.json"
MORE = int(os.environ.get("LOVAGE_FUZZ_EXAMPLES", "0"))
FEW = 3
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
ANSWERS_WITHIN = 30  # seconds; nothing may hang, and the machine may be busy
ODD = [
    "",
    "\x00",
    "a\x00b",
    "\ud800",
    "é\U0001f600",
    "../..",
    "%00",
    "x" * 3000,
    -1,
    10**30,
    1e308,
    None,
    [],
    {},
    [[]],
    True,
]
NEED_WORKERS = (
    "GET /ready",
    "POST /v1/models/{owner}/{name}/load",
    "POST /v1/models/{owner}/{name}/pin",
    "POST /v1/sessions",
    "POST /v2/repository/models/{model}/load",
    "GET /v2/models/{model}/ready",
    "GET /v2/models/{model}/versions/{version}/ready",
)
IN_PATH = ["\x00", "a\x00b", "é\U0001f600", "%00", "x" * 3000, "0", "-1", "'"]
KEPT = {"model", "messages", "prompt", "version", "input", "name"}
SETTINGS = settings(
    max_examples=MORE or FEW,
    derandomize=not MORE,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink] if MORE else [Phase.generate],
)
LABELS = [
    f"{method.upper()} {path}"
    for path, methods in json.loads(DOCUMENT.read_text("utf-8"))["paths"].items()
    for method in methods
]


class Parrot(HandWorker):
    """Answers every prediction at once, as a model that streams texts would."""

    def _answer(self, prediction: Prediction) -> None:
        fence = (prediction.id, prediction.attempt, self._id)
        self._core.events.chunk(prediction.id, ChunkFrame(prediction.attempt, 0, "word"))
        self._core.lifecycle.save_progress([ProgressUpdate(*fence, output=["word"])])
        metrics = {"run": 0.01, "prompt_tokens": 1, "output_tokens": 1}
        self._core.lifecycle.finish(
            [Ending(*fence, status=Status.SUCCEEDED, output=JsonText.from_value(["word"]), metrics=metrics)]
        )


@pytest.fixture
def parrot(api_settings) -> Iterator[Parrot]:
    with Parrot(api_settings) as found:
        yield found


@pytest.fixture
def other(make_person) -> Person:
    """An administrator, who may lose the key that they call with."""
    return make_person("other", admin=True)


@pytest.fixture
def things(admin: Person, other: Person, api: Server, api_settings) -> dict[str, Any]:
    """One of each that is there, so that not every call ends at "not found"."""
    folder = api_settings.model_root_folders[1] / "fuzzed"
    write_model(folder, {"architectures": ["GPT2LMHeadModel"]})
    model = admin.model("fuzzed", source="path:fuzzed", runtime="")
    prediction = admin.run("root/fuzzed", prompt="hello")
    file = admin.http.post("/v1/files", files={"content": ("a.txt", b"hello")})
    return {
        "owner": "root",
        "name": "fuzzed",
        "version_id": model["latest_version"]["id"],
        "prediction_id": prediction["id"],
        "file_id": file.json()["id"],
        "model": "root/fuzzed",
        "version": "root/fuzzed",
        "input": {"prompt": "hello"},
        "key_id": str(api.services.people.keys.issue(other.id, "spare", ["predict"]).key.id),
    }


@pytest.fixture(scope="session")
def operations() -> dict[str, APIOperation]:
    """By label; read here, as reading them takes seconds that no other test should wait for."""
    schema = schemathesis.openapi.from_path(DOCUMENT)
    schema.config.generation.update(
        with_security_parameters=False
    )  # or it would make up credentials for half of the calls
    return {result.ok().label: result.ok() for result in schema.get_all_operations()}


def test_every_operation_of_the_document_is_tried(operations: dict[str, APIOperation]) -> None:
    assert list(operations) == LABELS
    assert len(LABELS) > 40


@pytest.mark.parametrize("label", LABELS)
def test_answers_are_as_documented(
    label: str, operations: dict[str, APIOperation], api: Server, admin: Person, other: Person, things, parrot
) -> None:
    caller = other if label == "DELETE /v1/keys/{key_id}" else admin  # nobody else loses a key
    headers = {"Authorization": f"Bearer {caller.key}"}
    modes = [GenerationMode.POSITIVE]
    operation = operations[label]
    if operation.body or any(operation.iter_parameters()):
        modes.append(GenerationMode.NEGATIVE)
    with requests.Session() as session:

        @SETTINGS
        @given(case=st.one_of([operation.as_strategy(mode) for mode in modes]), data=st.data())
        def try_one(case: Case, data: st.DataObject) -> None:
            point_at_what_is_there(case, data, things)
            make_odd(case, data)
            case.headers.pop("Authorization", None)  # who calls is not what is tried here
            case.call_and_validate(
                base_url=api.url,
                session=session,
                headers=headers,
                checks=checks_of(label),
                timeout=ANSWERS_WITHIN,
            )

        try_one()


def checks_of(label: str) -> list[Any]:
    """These say 503 where no live worker is; that is their purpose."""
    return [one for one in CHECKS if label not in NEED_WORKERS or one is not not_a_server_error]


def point_at_what_is_there(case: Case, data: st.DataObject, things: dict[str, Any]) -> None:
    """Mostly, names and ids in the path and the body become those of something that exists."""
    if not data.draw(st.integers(0, 3), label="existing"):
        return
    for name in set(case.path_parameters or ()) & set(things):
        case.path_parameters[name] = things[name]
    if not isinstance(case.body, dict) or case.media_type != "application/json":
        return
    for name in sorted(case.body, key=repr):  # with many fields, one of them is nearly always refused
        if name not in KEPT and data.draw(st.integers(0, 2), label="left out"):
            del case.body[name]
    if "version" not in case.body or "input" in case.body:
        for name in set(case.body) & {"model", "version", "input"}:
            case.body[name] = things[name]


def make_odd(case: Case, data: st.DataObject) -> None:
    """Now and then one value is something that no schema speaks of: NUL, lone surrogates, numbers that
    overflow."""
    if data.draw(st.integers(0, 3), label="odd"):
        return
    if isinstance(case.body, dict) and case.body and case.media_type == "application/json":
        case.body[data.draw(st.sampled_from(sorted(case.body, key=repr)))] = data.draw(st.sampled_from(ODD))
    elif case.path_parameters:
        case.path_parameters[data.draw(st.sampled_from(sorted(case.path_parameters)))] = data.draw(
            st.sampled_from(IN_PATH)
        )

"""The calls of the `replicate` 2.x client; a script, because 1.x has the same name in the tests' own process."""

import os
import time
from importlib.metadata import version
from typing import Any

import pytest
import replicate
from replicate.exceptions import ModelError

assert version("replicate").startswith("2."), version("replicate")
remote: Any = replicate.Replicate(  # type: ignore[attr-defined]
    bearer_token=os.environ["LOVAGE_KEY"], base_url=os.environ["LOVAGE_URL"] + "/v1", max_retries=0
)


def status_becomes(made: str, wanted: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while (found := remote.predictions.get(prediction_id=made).status) != wanted:
        assert time.monotonic() < until, f"{made} is {found}, not {wanted}"
        time.sleep(0.1)


def run_returns_the_output() -> None:
    assert remote.run("demo/echo", input={"text": "hello"}) == "hello"
    newest = remote.models.get(model_owner="demo", model_name="echo").latest_version
    assert remote.run(f"demo/echo:{newest.id}", input={"text": "again"}) == "again"
    assert len(remote.run("demo/minilm", input={"text": "hello"})) == 384


def run_raises_what_the_model_failed_with() -> None:
    with pytest.raises(ModelError, match="no luck"):
        remote.run("demo/echo", input={"fail": "no luck"})


def stream_yields_the_pieces() -> None:
    echo = replicate.use("demo/echo", streaming=True)  # type: ignore[attr-defined]
    pieces = [str(piece) for piece in echo(text="a b c", chunks=5, seconds=0.3)]
    assert "".join(pieces) == "a b c", pieces


def use_calls_a_model_as_a_function() -> None:
    echo = replicate.use("demo/echo")  # type: ignore[attr-defined]
    assert echo(text="as a function") == "as a function"


def predictions_are_created_got_waited_for_and_listed() -> None:
    newest = remote.models.get(model_owner="demo", model_name="echo").latest_version.id
    made = remote.predictions.create(version=newest, input={"text": "x", "seconds": 0.3})
    assert made.status in ("starting", "processing"), made.status
    ended = remote.predictions.wait(made.id)
    assert (ended.status, ended.output) == ("succeeded", "x")
    assert made.id in [one.id for one in remote.predictions.list().results]
    assert made.id in {one.id for one in remote.predictions.list()}, "over all pages"


def cancel_stops_a_running_prediction() -> None:
    made = remote.models.predictions.create(model_owner="demo", model_name="echo", input={"seconds": 60})
    status_becomes(made.id, "processing")
    assert remote.predictions.cancel(prediction_id=made.id).id == made.id
    status_becomes(made.id, "canceled")


def models_are_listed_and_have_versions() -> None:
    found = {f"{model.owner}/{model.name}" for model in remote.models.list()}
    assert {"demo/echo", "demo/words", "demo/minilm"} <= found, found
    assert remote.models.versions.list(model_owner="demo", model_name="words").results


def files_are_created_got_listed_and_deleted() -> None:
    made = remote.files.create(content=("note.txt", b"hello file", "text/plain"))
    assert (made.name, made.size) == ("note.txt", 10)
    assert remote.files.get(file_id=made.id).id == made.id
    assert made.id in [one.id for one in remote.files.list()]
    remote.files.delete(file_id=made.id)


def the_account_and_the_hardware_are_told() -> None:
    assert remote.account.get().username
    assert remote.hardware.list()


def errors_have_the_classes_of_their_status() -> None:
    with pytest.raises(replicate.NotFoundError):  # type: ignore[attr-defined]
        remote.models.get(model_owner="demo", model_name="nothing")
    with pytest.raises(replicate.UnprocessableEntityError, match="max_new_tokens"):  # type: ignore[attr-defined]
        remote.run("demo/words", input={"prompt": "x", "max_new_tokens": 0})


CALLS = [
    run_returns_the_output, run_raises_what_the_model_failed_with, stream_yields_the_pieces, use_calls_a_model_as_a_function,
    predictions_are_created_got_waited_for_and_listed, cancel_stops_a_running_prediction, models_are_listed_and_have_versions,
    files_are_created_got_listed_and_deleted, the_account_and_the_hardware_are_told, errors_have_the_classes_of_their_status,
]  # fmt: skip

if __name__ == "__main__":
    for call in CALLS:
        call()
        print("ok", call.__name__, flush=True)

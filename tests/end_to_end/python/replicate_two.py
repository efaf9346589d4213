"""The calls of the `replicate` 2.x client; a script, because 1.x has the same name in the tests' own
process."""

import asyncio
import base64
import hmac
import json
import os
import re
import time
import warnings
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from replicate.exceptions import ModelError
from standardwebhooks.webhooks import Webhook

assert version("replicate").startswith("2."), version("replicate")
replicate: Any = import_module("replicate")  # mypy would see 1.x
URL, KEY = os.environ["LOVAGE_URL"], os.environ["LOVAGE_KEY"]
remote = replicate.Replicate(bearer_token=KEY, base_url=f"{URL}/v1", max_retries=0)
ECHO = {"model_owner": "demo", "model_name": "echo"}
WORDS = {"model_owner": "demo", "model_name": "words"}


def newest(**model: str) -> Any:
    return remote.models.get(**model).latest_version


def status_becomes(made: str, wanted: str, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while (found := remote.predictions.get(prediction_id=made).status) != wanted:
        assert time.monotonic() < until, f"{made} is {found}, not {wanted}"
        time.sleep(0.1)


def run_returns_the_output() -> None:
    assert remote.run("demo/echo", input={"text": "hello"}) == "hello"
    assert remote.run(f"demo/echo:{newest(**ECHO).id}", input={"text": "again"}) == "again"
    assert remote.run("demo/echo", input={"text": "polled", "seconds": 0.2}, wait=False) == "polled"
    assert len(remote.run("demo/minilm", input={"text": "hello"})) == 384


def run_of_a_streaming_model_gives_its_pieces() -> None:
    assert len(remote.run("demo/words", input={"prompt": "The ship", "max_new_tokens": 20, "seed": 1})) > 3


def run_raises_what_the_model_failed_with() -> None:
    with pytest.raises(ModelError, match="no luck"):
        remote.run("demo/echo", input={"fail": "no luck"})


def run_gives_pictures_as_files() -> None:
    (picture,) = remote.run("demo/digits", input={"prompt": "3", "seed": 1, "steps": 2})
    fetched = httpx.get(str(picture), trust_env=False)  # over plain http the client gives the URL
    assert fetched.content.startswith(b"\x89PNG")


def run_uploads_a_file_handle() -> None:
    with open(__file__, "rb") as handle:
        uploaded = remote.run("demo/echo", input={"text": handle})
    assert remote.files.get(file_id=uploaded.rpartition("/")[2]).size == Path(__file__).stat().st_size


def stream_yields_the_pieces() -> None:
    echo = replicate.use("demo/echo", streaming=True)
    pieces = [str(piece) for piece in echo(text="a b c", chunks=5, seconds=0.3)]
    assert "".join(pieces) == "a b c", pieces
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert (
            "".join(map(str, replicate.stream("demo/echo", input={"text": "d e f", "chunks": 3}))) == "d e f"
        )


def use_calls_a_model_as_a_function() -> None:
    echo = replicate.use("demo/echo")
    assert echo(text="as a function") == "as a function"
    assert replicate.use(f"demo/echo:{newest(**ECHO).id}")(text="by version") == "by version"
    begun = echo.create(text="begun", seconds=0.2)
    assert begun.output() == "begun"
    assert not begun.logs(), "echo writes none"
    assert echo.openapi_schema()["components"]["schemas"]["Input"]


def the_output_of_one_model_is_the_input_of_another() -> None:
    written = replicate.use("demo/words")(prompt="The ship", max_new_tokens=5, seed=1)
    assert replicate.use("demo/echo")(text=written) == str(written)


def predictions_are_created_got_waited_for_and_listed() -> None:
    began = datetime.now(UTC) - timedelta(seconds=30)
    made = remote.predictions.create(version=newest(**ECHO).id, input={"text": "x", "seconds": 0.3})
    assert made.status in ("starting", "processing"), made.status
    ended = remote.predictions.wait(made.id)
    assert (ended.status, ended.output) == ("succeeded", "x")
    assert made.id in [one.id for one in remote.predictions.list().results]
    assert made.id in {one.id for one in remote.predictions.list(created_after=began)}, "over all pages"
    assert made.id not in {one.id for one in remote.predictions.list(created_before=began)}


def a_create_that_waits_comes_back_ended() -> None:
    made = remote.predictions.create(version=newest(**ECHO).id, input={"text": "y"}, prefer="wait=30")
    assert (made.status, made.output) == ("succeeded", "y")


def a_deadline_cancels() -> None:
    made = remote.predictions.create(version=newest(**ECHO).id, input={"seconds": 60}, cancel_after="5s")
    assert made.deadline
    remote.predictions.cancel(prediction_id=made.id)


def cancel_stops_a_running_prediction() -> None:
    made = remote.models.predictions.create(**ECHO, input={"seconds": 60})
    status_becomes(made.id, "processing")
    assert remote.predictions.cancel(prediction_id=made.id).id == made.id
    status_becomes(made.id, "canceled")


def models_are_listed_searched_and_have_versions() -> None:
    found = {f"{model.owner}/{model.name}" for model in remote.models.list()}
    assert {"demo/echo", "demo/words", "demo/minilm"} <= found, found
    assert [model.name for model in remote.models.search(body="minilm")] == ["minilm"]
    listed = remote.models.versions.list(**WORDS).results
    assert remote.models.versions.get(**WORDS, version_id=listed[0].id).openapi_schema
    assert list(remote.models.examples.list(**ECHO)) == []


def a_model_is_created_changed_and_deleted() -> None:
    owner = remote.account.get().username
    mine = {"model_owner": owner, "model_name": "two-made-this"}
    made = remote.models.create(
        owner=owner, name="two-made-this", visibility="private", hardware="cpu", description="first"
    )
    try:
        assert (made.visibility, made.description) == ("private", "first")
        assert remote.models.update(**mine, description="second", readme="# Two").description == "second"
        assert "# Two" in str(remote.models.readme.get(**mine))
        version_of_it = httpx.post(
            f"{URL}/v1/models/{owner}/two-made-this/versions",
            headers={"Authorization": f"Bearer {KEY}"},
            json={"source": "none", "runtime": "echo"},
            trust_env=False,
        ).json()
        remote.models.versions.delete(**mine, version_id=version_of_it["id"])
        assert remote.models.get(**mine).latest_version is None
    finally:
        remote.models.delete(**mine)
    with pytest.raises(replicate.NotFoundError):
        remote.models.get(**mine)


def deployments_are_made_changed_run_and_deleted() -> None:
    mine = {"deployment_owner": remote.account.get().username, "deployment_name": "two-deployed"}
    size = {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made = remote.deployments.create(
        name="two-deployed", model="demo/echo", version=newest(**ECHO).id, **size
    )
    try:
        assert made.current_release.number == 1
        assert remote.deployments.update(**mine, max_instances=2).current_release.number == 2
        assert remote.deployments.get(**mine).name in [one.name for one in remote.deployments.list()]
        ended = remote.deployments.predictions.create(**mine, input={"text": "deployed"}, prefer="wait=30")
        assert (ended.output, ended.deployment) == ("deployed", "/".join(mine.values()))
    finally:
        remote.deployments.delete(**mine)
    with pytest.raises(replicate.NotFoundError):
        remote.deployments.get(**mine)


def a_file_is_downloaded_by_its_signature() -> None:
    owner, expiry = remote.account.get().username, int(time.time()) + 60
    made = remote.files.create(content=("note.txt", b"signed", "text/plain"))
    key = remote.get("/account/file-key", cast_to=object)["key"]  # Replicate hands its own out by hand
    signature = base64.b64encode(
        hmac.digest(key.encode(), f"{owner} {made.id} {expiry}".encode(), "sha256")
    ).decode()
    asked = {"file_id": made.id, "owner": owner, "expiry": expiry}
    assert remote.files.download(**asked, signature=signature).read() == b"signed"
    with pytest.raises(replicate.NotFoundError):
        remote.files.download(**asked, signature=signature[::-1])


def files_are_created_got_listed_and_deleted() -> None:
    made = remote.files.create(content=("note.txt", b"hello file", "text/plain"), metadata={"a": 1})
    assert (made.name, made.size) == ("note.txt", 10)
    assert remote.files.get(file_id=made.id).id == made.id
    assert made.id in [one.id for one in remote.files.list()]
    remote.files.delete(file_id=made.id)
    with pytest.raises(replicate.NotFoundError):
        remote.files.get(file_id=made.id)


def the_account_and_the_hardware_are_told() -> None:
    assert remote.account.get().username
    assert remote.hardware.list()


def a_webhook_is_one_of_the_accounts_secret() -> None:
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as receiver:
        receiver.timeout = 30
        hook = f"http://127.0.0.1:{receiver.server_port}/"
        asked = {"input": {"text": "w"}, "webhook": hook, "webhook_events_filter": ["completed"]}
        made = remote.models.predictions.create(**ECHO, **asked)
        receiver.handle_request()
    ((headers, body),) = got
    told = Webhook(remote.webhooks.default.secret.get().key).verify(
        body, {name.lower(): text for name, text in headers.items()}
    )
    assert (told["id"], told["status"], json.loads(body)["output"]) == (made.id, "succeeded", "w")


def errors_have_the_classes_of_their_status() -> None:
    with pytest.raises(replicate.NotFoundError):
        remote.models.get(model_owner="demo", model_name="nothing")
    with pytest.raises(replicate.NotFoundError):
        remote.predictions.get(prediction_id="nothing")
    with pytest.raises(replicate.UnprocessableEntityError, match="max_new_tokens"):
        remote.run("demo/words", input={"prompt": "x", "max_new_tokens": -1})
    stranger = replicate.Replicate(bearer_token="lov_wrong", base_url=f"{URL}/v1", max_retries=0)
    with pytest.raises(replicate.AuthenticationError):
        stranger.account.get()
    with pytest.raises(replicate.ConflictError):
        remote.models.create(owner="demo", name="echo", visibility="private", hardware="cpu")


def the_async_client_does_the_same() -> None:
    async def calls() -> None:
        async with replicate.AsyncReplicate(bearer_token=KEY, base_url=f"{URL}/v1", max_retries=0) as remote:
            assert await remote.run("demo/echo", input={"text": "hello"}) == "hello"
            made = await remote.models.predictions.create(**ECHO, input={"text": "x", "seconds": 0.2})
            assert (await remote.predictions.wait(made.id)).output == "x"
            assert (await remote.predictions.get(prediction_id=made.id)).status == "succeeded"
            assert made.id in [one.id async for one in await remote.predictions.list()]
            long = await remote.models.predictions.create(**ECHO, input={"seconds": 60})
            assert (await remote.predictions.cancel(prediction_id=long.id)).id == long.id
            several = (remote.run("demo/echo", input={"text": str(n), "seconds": 0.1}) for n in range(8))
            assert await asyncio.gather(*several) == [str(n) for n in range(8)]
            with pytest.raises(ModelError, match="no luck"):
                await remote.run("demo/echo", input={"fail": "no luck"})
            with pytest.raises(replicate.NotFoundError):
                await remote.models.get(model_owner="demo", model_name="nothing")
        echo = replicate.use("demo/echo", use_async=True, streaming=True)
        pieces = [str(piece) async for piece in await echo(text="a b c", chunks=5, seconds=0.3)]
        assert "".join(pieces) == "a b c", pieces
        assert await replicate.use("demo/echo", use_async=True)(text="as a function") == "as a function"

    asyncio.run(calls())


LEFT_OUT = ("collections", "trainings")  # Lovage has none


def every_call_is_exercised() -> None:
    told = Path(__file__).read_text()
    missing = [
        call for call in sorted(calls_of(remote)) if not re.search(rf"\bremote\.{re.escape(call)}\(", told)
    ]
    assert [call for call in missing if call.partition(".")[0] not in LEFT_OUT] == []


def calls_of(part: Any, path: str = "") -> set[str]:
    """`models.versions.list` and so on: every call that the client offers."""
    found: set[str] = set()
    for name in dir(type(part)):
        if name.startswith(("_", "with_")):
            continue
        member = getattr(part, name)
        if type(member).__name__.endswith("Resource"):
            found |= calls_of(member, f"{path}{name}.")
        elif path and callable(member):
            found.add(path + name)
    return found


CALLS = [
    run_returns_the_output,
    run_of_a_streaming_model_gives_its_pieces,
    run_raises_what_the_model_failed_with,
    run_gives_pictures_as_files,
    run_uploads_a_file_handle,
    stream_yields_the_pieces,
    use_calls_a_model_as_a_function,
    the_output_of_one_model_is_the_input_of_another,
    predictions_are_created_got_waited_for_and_listed,
    a_create_that_waits_comes_back_ended,
    a_deadline_cancels,
    cancel_stops_a_running_prediction,
    models_are_listed_searched_and_have_versions,
    a_model_is_created_changed_and_deleted,
    deployments_are_made_changed_run_and_deleted,
    a_file_is_downloaded_by_its_signature,
    files_are_created_got_listed_and_deleted,
    the_account_and_the_hardware_are_told,
    a_webhook_is_one_of_the_accounts_secret,
    errors_have_the_classes_of_their_status,
    the_async_client_does_the_same,
    every_call_is_exercised,
]

if __name__ == "__main__":
    for call in CALLS:
        call()
        print("ok", call.__name__, flush=True)

"""The rest of the `replicate` 1.x client's calls, its asynchronous half, and a check that no call of it is
left out."""

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import replicate
from platform_under_test import UpPlatform
from replicate.client import Client
from replicate.deployment import DeploymentPredictions, Deployments, DeploymentsPredictions
from replicate.exceptions import ModelError, ReplicateError
from replicate.file import Files
from replicate.model import Models
from replicate.prediction import Prediction, Predictions
from replicate.resource import Namespace
from replicate.version import Versions
from replicate.webhook import Webhooks

ECHO = "demo/echo"
FOREVER = {"seconds": 60}
HERE = Path(__file__)


@pytest.fixture
def remote(platform: UpPlatform) -> Iterator[Client]:
    client = replicate.Client(api_token=platform.key, base_url=platform.url)
    yield client
    client._client.close()  # it has no `close` of its own


def run_calls(remote: Client, calls: Callable[[], Awaitable[None]]) -> None:
    """On a loop of its own, on which the client's connections are then closed."""

    async def run() -> None:
        try:
            await calls()
        finally:
            await remote._async_client.aclose()

    asyncio.run(run())


def test_a_file_handle_as_an_input_is_uploaded(remote: Client) -> None:
    with HERE.open("rb") as handle:
        url = remote.run(ECHO, input={"text": handle})
    assert remote.files.get(url.rpartition("/")[2]).size == HERE.stat().st_size


def test_a_picture_can_be_read_as_the_client_reads_it(remote: Client) -> None:
    (picture,) = remote.run("demo/digits", input={"prompt": "3", "seed": 1, "steps": 2})
    fetched = httpx.get(str(picture), trust_env=False)  # over plain http the client gives the URL
    assert fetched.content.startswith(b"\x89PNG")


def test_a_prediction_iterates_over_its_growing_output(remote: Client) -> None:
    made = remote.models.predictions.create("demo/echo", input={"text": "a b c", "chunks": 3, "seconds": 0.4})
    assert "".join(made.output_iterator()) == "a b c"
    again = remote.predictions.create(model=ECHO, input={"text": "d e f", "chunks": 3})
    assert "".join(str(event) for event in again.stream()) == "d e f"


def test_a_create_that_waits_comes_back_ended(remote: Client) -> None:
    made = remote.models.predictions.create(ECHO, input={"text": "y"}, wait=30)
    assert (made.status, made.output) == ("succeeded", "y")
    assert remote.predictions.cancel(made.id).status == "succeeded", "too late: unchanged, no error"


def test_models_are_searched_and_their_versions_got(remote: Client) -> None:
    assert [model.name for model in remote.models.search("minilm")] == ["minilm"]
    model = remote.models.get("demo", "words")
    assert model.versions.get(model.versions.list().results[0].id) == model.latest_version
    model.reload()
    assert model.run_count >= 0


def test_a_model_is_created_and_deleted(remote: Client) -> None:
    owner = remote.accounts.current().username
    made = remote.models.create(owner=owner, name="one-made-this", visibility="private", hardware="cpu")
    assert (made.owner, made.visibility) == (owner, "private")
    with pytest.raises(ReplicateError) as taken:
        remote.models.create(owner=owner, name="one-made-this", visibility="private", hardware="cpu")
    assert taken.value.status == 409
    assert remote.models.delete(owner, "one-made-this") is True


def test_a_version_is_deleted(remote: Client) -> None:
    owner = remote.accounts.current().username
    made = remote.models.create(owner=owner, name="one-version", visibility="private", hardware="cpu")
    try:
        wanted = {"source": "none", "runtime": "echo"}
        version = remote._request("POST", f"/v1/models/{owner}/one-version/versions", json=wanted).json()
        made.versions.delete(version["id"])
        assert made.versions.list().results == []
    finally:
        remote.models.delete(owner, "one-version")


def test_a_deployment_is_made_changed_run_and_deleted(remote: Client) -> None:
    owner = remote.accounts.current().username
    version = remote.models.get(ECHO).latest_version
    wanted = {"model": ECHO, "version": version.id, "hardware": "cpu", "min_instances": 0, "max_instances": 1}
    made = remote.deployments.create(name="one-deployed", **wanted)
    try:
        assert (made.owner, made.current_release.number, made.current_release.version) == (
            owner,
            1,
            version.id,
        )
        changed = remote.deployments.update(owner, "one-deployed", max_instances=2)
        assert (changed.current_release.number, changed.current_release.configuration.max_instances) == (2, 2)
        found = remote.deployments.get(f"{owner}/one-deployed")
        assert found.id in [one.id for one in remote.deployments.list().results]
        for prediction in (
            found.predictions.create(input={"text": "deployed"}, wait=30),
            remote.deployments.predictions.create(
                f"{owner}/one-deployed", input={"text": "deployed"}, wait=30
            ),
        ):
            assert (prediction.status, prediction.output) == ("succeeded", "deployed")
    finally:
        assert remote.deployments.delete(owner, "one-deployed") is True
    with pytest.raises(ReplicateError) as missing:
        remote.deployments.get(f"{owner}/one-deployed")
    assert missing.value.status == 404


def test_the_async_half_knows_deployments(remote: Client) -> None:
    async def calls() -> None:
        owner = remote.accounts.current().username
        version = remote.models.get(ECHO).latest_version
        wanted = {
            "model": ECHO,
            "version": version.id,
            "hardware": "cpu",
            "min_instances": 0,
            "max_instances": 1,
        }
        await remote.deployments.async_create(name="async-deployed", **wanted)
        await remote.deployments.async_update(owner, "async-deployed", max_instances=2)
        found = await remote.deployments.async_get(f"{owner}/async-deployed")
        assert found.id in [one.id for one in (await remote.deployments.async_list()).results]
        first = await found.predictions.async_create(input={"text": "deployed"}, wait=30)
        again = await remote.deployments.predictions.async_create(found, input={"text": "deployed"}, wait=30)
        assert [first.output, again.output] == ["deployed", "deployed"]
        assert await remote.deployments.async_delete(owner, "async-deployed") is True

    run_calls(remote, calls)


def test_hardware_is_listed(remote: Client) -> None:
    assert all(one.sku and one.name for one in remote.hardware.list())


def test_the_async_half_runs_streams_and_waits(remote: Client) -> None:
    async def calls() -> None:
        assert await remote.async_run(ECHO, input={"text": "hello"}) == "hello"
        several = (remote.async_run(ECHO, input={"text": str(n), "seconds": 0.1}) for n in range(8))
        assert await asyncio.gather(*several) == [str(n) for n in range(8)]
        events = [
            event async for event in await remote.async_stream(ECHO, input={"text": "a b c", "chunks": 5})
        ]
        assert "".join(str(event) for event in events) == "a b c"
        with pytest.raises(ModelError, match="no luck"):
            await remote.async_run(ECHO, input={"fail": "no luck"})
        made = await remote.predictions.async_create(
            model=ECHO, input={"text": "x y", "chunks": 2, "seconds": 0.2}
        )
        assert "".join([str(event) async for event in made.async_stream()]) == "x y"
        await made.async_wait()
        await made.async_reload()
        assert (made.status, made.output) == ("succeeded", ["x", " y"])
        growing = await remote.models.predictions.async_create(
            ECHO, input={"text": "x y", "chunks": 2, "seconds": 0.2}
        )
        assert "".join([piece async for piece in growing.async_output_iterator()]) == "x y"

    run_calls(remote, calls)


def test_the_async_half_gets_lists_and_cancels(remote: Client) -> None:
    async def calls() -> None:
        made = await remote.predictions.async_create(model=ECHO, input=FOREVER)
        assert (await remote.predictions.async_get(made.id)).id == made.id
        assert made.id in [one.id for one in (await remote.predictions.async_list()).results]
        await made.async_cancel()
        assert (await remote.predictions.async_cancel(made.id)).id == made.id
        with pytest.raises(ReplicateError) as missing:
            await remote.predictions.async_get("nothing")
        assert missing.value.status == 404
        assert await remote.hardware.async_list() == remote.hardware.list()
        assert (await remote.webhooks.default.async_secret()) == remote.webhooks.default.secret()

    run_calls(remote, calls)


def test_the_async_half_knows_models_and_files(remote: Client) -> None:
    async def calls() -> None:
        owner = (await remote.accounts.async_current()).username
        model = await remote.models.async_get("demo/words")
        assert model.id in [f"{one.owner}/{one.name}" for one in (await remote.models.async_list()).results]
        assert [one.name for one in (await remote.models.async_search("minilm")).results] == ["minilm"]
        newest = (await model.versions.async_list()).results[0]
        assert (await model.versions.async_get(newest.id)).id == newest.id
        made = await remote.models.async_create(
            owner=owner, name="async-made", visibility="private", hardware="cpu"
        )
        wanted = {"source": "none", "runtime": "echo"}
        version = remote._request("POST", f"/v1/models/{owner}/async-made/versions", json=wanted).json()
        await made.versions.async_delete(version["id"])
        assert await remote.models.async_delete(f"{owner}/async-made") is True
        file = await remote.files.async_create(HERE)
        assert (await remote.files.async_get(file.id)).etag == file.etag
        assert file.id in [one.id for one in await remote.files.async_list()]
        assert await remote.files.async_delete(file.id) is True

    run_calls(remote, calls)


# Whose calls are in scope. Lovage has no trainings and no collections.
OFFERED: dict[str, type] = {
    r"predictions": Predictions,
    r"\w+": Prediction,
    r"models": Models,
    r"versions": Versions,
    r"files": Files,
    r"default": Webhooks.Default,
    r"remote": Client,
    r"deployments": Deployments,
    r"deployments\.predictions": DeploymentsPredictions,
    r"found\.predictions": DeploymentPredictions,
}
NO_REQUEST = {"id", "username", "predict", "model_post_init"}  # `predict` only tells what to call instead


def test_no_call_of_the_client_is_left_out() -> None:
    told = HERE.read_text() + HERE.with_name("test_replicate_end_to_end.py").read_text()
    missing = [
        f"{owner.__name__}.{name}"
        for path, owner in OFFERED.items()
        for name in calls_of(owner)
        if not re.search(rf"\b{path}\.{name}\(", told)
    ]
    assert missing == []


def calls_of(owner: type) -> list[str]:
    """Its own public functions: what it inherits from pydantic or from `Namespace` is none of its calls."""
    own = {name for name, one in vars(owner).items() if inspect.isfunction(one) and not name.startswith("_")}
    assert own or issubclass(owner, Namespace)
    return sorted(own - NO_REQUEST)

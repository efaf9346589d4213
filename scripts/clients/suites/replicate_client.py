"""Replicate's own client: predictions, streams, models, files, deployments."""

import io
import os
import time

import replicate
from replicate.exceptions import ReplicateError

REQUIRES = ("replicate==1.0.7",)
CALLS = (
    "predictions.create",
    "predictions.get",
    "predictions.list",
    "predictions.cancel",
    "models.predictions.create",
    "models.get",
    "models.list",
    "models.versions.list",
    "models.versions.get",
    "deployments.create",
    "deployments.list",
    "deployments.get",
    "deployments.update",
    "deployments.delete",
    "deployments.predictions.create",
    "files.create",
    "files.get",
    "files.list",
    "files.delete",
    "streams.read",
    "hardware.list",
    "account.get",
    "collections.list",
    "trainings.list",
)
TEXT, ECHO = os.environ.get("TEXT", ""), os.environ.get("ECHO", "")


def main() -> None:
    client = replicate.Client(api_token=os.environ["LOVAGE_KEY"], base_url=os.environ["LOVAGE_URL"])
    predictions(client)
    models(client)
    deployments(client)
    file = client.files.create(io.BytesIO(b"hello"))
    assert client.files.get(file.id).id == file.id
    assert file.id in [each.id for each in client.files.list()]
    client.files.delete(file.id)
    assert client.accounts.current().username
    assert client.hardware.list()
    trainings(client)
    try:
        client.models.get("nobody/none")
    except ReplicateError as error:
        assert error.status == 404
    else:
        raise AssertionError("a model that is not there was found")


def predictions(client: replicate.Client) -> None:
    asked = {"prompt": "The whale", "max_new_tokens": 4, "max_length": 9}  # max_length: none of this model's
    assert "".join(client.run(TEXT, input=asked))
    assert "".join(str(event) for event in client.stream(TEXT, input=asked))
    version = client.models.get(TEXT).latest_version
    prediction = client.predictions.create(version=version.id, input=asked)
    prediction.wait()
    assert prediction.status == "succeeded"
    assert client.predictions.get(prediction.id).output == prediction.output
    assert prediction.id in [each.id for each in client.predictions.list()]
    slow = client.models.predictions.create(ECHO, input={"text": "a", "seconds": 30})
    slow.cancel()
    while slow.status not in ("canceled", "succeeded"):
        time.sleep(0.05)
        slow.reload()
    assert slow.status == "canceled"


def models(client: replicate.Client) -> None:
    assert TEXT in [f"{model.owner}/{model.name}" for model in client.models.list()]
    versions = client.models.get(TEXT).versions
    assert versions.get(versions.list()[0].id).openapi_schema


def trainings(client: replicate.Client) -> None:
    assert list(client.collections.list()) == []
    assert list(client.trainings.list()) == []
    version = client.models.get(TEXT).latest_version.id
    try:
        client.trainings.create(version=f"{TEXT}:{version}", input={}, destination=TEXT)
    except ReplicateError as error:
        assert "trains none" in (error.detail or ""), error
    else:
        raise AssertionError("something was trained")


def deployments(client: replicate.Client) -> None:
    model = client.models.get(TEXT)
    hardware = client.hardware.list()[0].sku
    made = client.deployments.create(
        name="walker",
        model=TEXT,
        version=model.latest_version.id,
        hardware=hardware,
        min_instances=0,
        max_instances=1,
    )
    name = f"{made.owner}/{made.name}"
    assert client.deployments.get(name).name == "walker"
    assert "walker" in [each.name for each in client.deployments.list()]
    client.deployments.update(made.owner, made.name, min_instances=0, max_instances=1)
    prediction = client.deployments.predictions.create(name, input={"prompt": "The", "max_new_tokens": 2})
    prediction.wait()
    assert prediction.status == "succeeded", prediction.error
    client.deployments.delete(made.owner, made.name)


if __name__ == "__main__":
    main()

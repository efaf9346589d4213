"""The demo models give real results through the public API."""

import io
import time

import httpx
import numpy
import pytest
from PIL import Image
from platform_under_test import wait_all
from waiting import eventually

from app.domain.phases import PHASES
from app.domain.work import ModelSpec
from app.runtimes.base import Alone, Job
from app.runtimes.demo import demo_minilm_folder
from app.runtimes.encoders.embedding import Embedding

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SEEDS = 4  # pictures of each digit


@pytest.mark.alone
def test_a_curl_like_post_answers_201_at_once_and_the_poll_shows_the_result(client: httpx.Client) -> None:
    client.post(
        "/v1/predictions",
        json={"version": "demo/minilm", "input": {"text": "warm up"}},
        headers={"Prefer": "wait"},
    )
    began = time.monotonic()
    made = client.post(
        "/v1/predictions", json={"version": "demo/minilm", "input": {"text": "The whale is white."}}
    )
    assert made.status_code == 201
    assert time.monotonic() - began < 2
    [ended] = wait_all(client, [made.json()["id"]])
    assert ended["status"] == "succeeded"
    assert len(ended["output"]) == 384
    ours, theirs = numpy.array(ended["output"]), numpy.array(directly("The whale is white."))
    assert ours @ theirs >= 0.999  # either may have chosen half precision, which is held to that


def directly(text: str) -> list[float]:
    """The same model, run here without the platform."""
    model = Embedding.load(ModelSpec("direct", "demo/minilm", "embedding", path=str(demo_minilm_folder())))
    job = Job("direct", {"text": text})
    model.prepare(job)
    [(_, finished)] = list(model.run([job], Alone()))
    return finished.output  # type: ignore[union-attr, no-any-return]


@pytest.mark.alone  # what costs too long to measure is not recorded
def test_dtype_auto_chooses_for_this_device_and_the_version_records_why(client: httpx.Client) -> None:
    wanted = {"source": f"path:{demo_minilm_folder()}", "runtime": "embedding", "config": {"dtype": "auto"}}
    version = client.post("/v1/models", json={"name": "minilm-auto", "version": wanted}).json()[
        "latest_version"
    ]
    assert version["facts"] == {}
    work = {"version": version["id"], "input": {"text": "warm up"}}
    assert (
        client.post("/v1/predictions", json=work, headers={"Prefer": "wait=60"}).json()["status"]
        == "succeeded"
    )
    path = f"/v1/models/{version_owner(client)}/minilm-auto/versions/{version['id']}"
    facts = eventually(lambda: client.get(path).json()["facts"].get("cpu"))
    assert facts["dtype"] in ("float32", "bfloat16")
    assert facts["dtype_reason"]
    assert facts["dtype"] == "float32" or (facts["dtype_agreement"] >= 0.999 and facts["dtype_speedup"] > 1)
    assert facts["max_batch_size"] >= 1
    assert facts["batch_cost_ms"]["fixed"] >= 0
    client.delete(f"/v1/models/{version_owner(client)}/minilm-auto").raise_for_status()


def version_owner(client: httpx.Client) -> str:
    return str(client.get("/v1/account").json()["username"])


def test_words_are_written(client: httpx.Client) -> None:
    body = {"version": "demo/words", "input": {"prompt": "Alice was", "seed": 7, "max_new_tokens": 90}}
    answer = client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}).json()
    assert answer["status"] == "succeeded"
    text = "".join(answer["output"])
    assert len(text.split()) > 20
    again = client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}).json()
    assert "".join(again["output"]) == text, "the same seed and input give the same text"


def test_text_and_pictures_say_where_their_time_went(client: httpx.Client) -> None:
    wanted = [
        {"version": "demo/words", "input": {"prompt": "Alice was"}},
        {"version": "demo/digits", "input": {"prompt": "one"}},
    ]
    for body in wanted:
        ended = client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}).json()
        metrics = ended["metrics"]
        assert ended["status"] == "succeeded"
        assert metrics["total_time"] == pytest.approx(
            sum(metrics[name] for name in PHASES), rel=0.02, abs=0.003
        )
        assert metrics["run"] > 0
        assert metrics["device"]


def test_digits_are_read_back_by_a_classifier(client: httpx.Client) -> None:
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    ids = []
    for digit, word in enumerate(WORDS):
        for seed in range(SEEDS):
            body = {"version": "demo/digits", "input": {"prompt": word, "seed": 100 * digit + seed}}
            ids.append(client.post("/v1/predictions", json=body).raise_for_status().json()["id"])
    ended = wait_all(client, ids, 240)
    assert {one["status"] for one in ended} == {"succeeded"}
    pictures = [small(client.get(one["output"][0]).raise_for_status().content) for one in ended]
    data, labels = load_digits(return_X_y=True)
    read = SVC(gamma=0.001).fit(data, labels).predict(numpy.array(pictures))
    table = numpy.zeros((10, 10), int)
    for n, label in enumerate(read):
        table[n // SEEDS, label] += 1
    print("\nasked \\ read  " + "  ".join(map(str, range(10))))
    for word, row in zip(WORDS, table, strict=True):
        print(f"{word:>12}  " + "  ".join(f"{count or '.'}" for count in row))
    assert table.trace() >= 0.8 * len(read), f"{table.trace()} of {len(read)} read correctly"


def small(png: bytes) -> numpy.ndarray:
    """A picture as scikit-learn's digits are: 8 by 8, 0 to 16, bright on dark."""
    picture = numpy.asarray(
        Image.open(io.BytesIO(png)).convert("L").resize((8, 8), Image.Resampling.BOX), float
    )
    if picture[[0, -1], :].mean() > 128:
        picture = 255 - picture
    return (picture / 255 * 16).ravel()


def test_a_signed_picture_url_needs_no_credential_and_cannot_be_forged(client: httpx.Client) -> None:
    body = {"version": "demo/digits", "input": {"prompt": "3", "seed": 1, "steps": 5}}
    url = client.post("/v1/predictions", json=body, headers={"Prefer": "wait=60"}).json()["output"][0]
    fetched = httpx.get(url, trust_env=False)
    assert fetched.status_code == 200
    assert fetched.headers["content-type"] == "image/png"
    assert httpx.get(url[:-4] + "AAAA", trust_env=False).status_code == 404

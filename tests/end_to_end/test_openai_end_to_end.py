"""The official `openai` client, unmodified, with its base URL pointed here."""

import asyncio
import base64
import itertools
import math
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from platform_under_test import UpPlatform
from waiting import eventually

WORDS, MINILM, DIGITS = "demo/words", "demo/minilm", "demo/digits"
STEP = 0.2  # seconds: three of them are a fair time on a busy machine
UNHURRIED = f"""
import time
from collections.abc import Iterator

def predict(prompt: str, max_new_tokens: int = 100) -> Iterator[str]:
    for number in range(max_new_tokens):
        time.sleep({STEP})
        yield f"{{number}} "
"""
SAID = [{"role": "user", "content": "Tell me of the sea."}]


@pytest.fixture
def remote(platform: UpPlatform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=platform.key, base_url=f"{platform.url}/v1", max_retries=0) as opened:
        yield opened


def test_models_are_listed_and_found(remote: openai.OpenAI) -> None:
    assert {WORDS, MINILM, DIGITS} <= {model.id for model in remote.models.list()}
    found = remote.models.retrieve(WORDS)
    assert (found.id, found.object, found.owned_by) == (WORDS, "model", "demo")
    assert found.created > 1_700_000_000


def test_an_absent_model_is_not_found(remote: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        remote.models.retrieve("demo/nothing")
    with pytest.raises(openai.NotFoundError) as told:
        remote.completions.create(model="gpt-4o", prompt="x")
    assert (told.value.code, told.value.param) == ("model_not_found", "model")
    assert "gpt-4o" in str(told.value)


def test_a_completion_has_text_reason_and_usage(remote: openai.OpenAI) -> None:
    made = remote.completions.create(model=WORDS, prompt="The ship", max_tokens=12, temperature=0)
    (choice,) = made.choices
    assert (choice.finish_reason, made.object, made.model) == ("length", "text_completion", WORDS)
    assert choice.text.strip()
    assert made.usage is not None
    assert (made.usage.completion_tokens, made.usage.total_tokens) == (12, made.usage.prompt_tokens + 12)


def test_prompts_times_n_are_answered_in_order(remote: openai.OpenAI) -> None:
    made = remote.completions.create(
        model=WORDS, prompt=["The ship", "A child"], n=2, max_tokens=5, seed=3, echo=True
    )
    assert [choice.index for choice in made.choices] == [0, 1, 2, 3]
    texts = [choice.text for choice in made.choices]
    assert [text.startswith("The ship") for text in texts] == [True, True, False, False]
    assert texts[0] != texts[1], "each answer has a seed of its own"


def test_the_same_seed_gives_the_same_text(remote: openai.OpenAI) -> None:
    texts = {
        remote.completions.create(model=WORDS, prompt="The ship", max_tokens=16, seed=5).choices[0].text
        for _ in range(3)
    }
    assert len(texts) == 1


def test_a_stop_string_ends_the_text_before_it(remote: openai.OpenAI) -> None:
    whole = (
        remote.completions.create(model=WORDS, prompt="The ship", max_tokens=40, temperature=0)
        .choices[0]
        .text
    )
    word = whole.split()[4]
    made = remote.completions.create(model=WORDS, prompt="The ship", max_tokens=40, temperature=0, stop=word)
    assert made.choices[0].text == whole[: whole.index(word)]
    assert made.choices[0].finish_reason == "stop"


def test_a_stream_says_what_the_whole_says(remote: openai.OpenAI) -> None:
    whole = remote.completions.create(model=WORDS, prompt="The ship", max_tokens=20, temperature=0)
    events = list(
        remote.completions.create(
            model=WORDS,
            prompt="The ship",
            max_tokens=20,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(event.choices[0].text for event in events if event.choices) == whole.choices[0].text
    assert [event.choices[0].finish_reason for event in events if event.choices][-1] == "length"
    assert events[-1].usage == whole.usage
    assert not events[-1].choices
    assert len(events) > 5


def test_a_chat_is_answered_and_streamed(remote: openai.OpenAI) -> None:
    whole = remote.chat.completions.create(
        model=WORDS, messages=SAID, max_completion_tokens=20, temperature=0
    )
    message = whole.choices[0].message
    assert message.role == "assistant"
    assert message.content
    events = list(
        remote.chat.completions.create(
            model=WORDS, messages=SAID, max_completion_tokens=20, temperature=0, stream=True
        )
    )
    assert events[0].choices[0].delta.role == "assistant"
    assert "".join(event.choices[0].delta.content or "" for event in events) == message.content
    assert {event.id for event in events} == {events[0].id}


def test_several_choices_stream_side_by_side(remote: openai.OpenAI) -> None:
    events = list(
        remote.chat.completions.create(model=WORDS, messages=SAID, n=3, max_tokens=8, seed=1, stream=True)
    )
    ended = [event.choices[0].index for event in events if event.choices[0].finish_reason]
    assert sorted(ended) == [0, 1, 2]


def test_the_models_own_inputs_are_taken_beside_openais_fields(remote: openai.OpenAI) -> None:
    asked = {"model": WORDS, "prompt": "The ship", "max_tokens": 20, "seed": 3}
    plain = remote.completions.create(**asked).choices[0].text
    narrow = (
        remote.completions.create(**asked, extra_body={"top_k": 1, "repetition_penalty": 1.3}).choices[0].text
    )
    assert narrow != plain
    drawn = remote.images.generate(
        model=DIGITS, prompt="3", response_format="b64_json", extra_body={"steps": 2, "seed": 1}
    )
    again = remote.images.generate(
        model=DIGITS, prompt="3", response_format="b64_json", extra_body={"steps": 2, "seed": 1}
    )
    assert drawn.data == again.data
    with pytest.raises(openai.BadRequestError) as told:
        remote.images.generate(model=DIGITS, prompt="3", extra_body={"steps": 1_000})
    assert told.value.param == "steps"


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"input": ["a", 1]}, "input.1", "must be|valid string"),
        ({"input": []}, "input", "at least 1 item"),
        ({"input": 5}, "input", "must be a text, a list of texts"),
        ({"input": [[1], []]}, "input.1", "at least 1 item"),
        ({"input": "a", "extra_body": {"pooling": "cls"}}, "pooling", "input of demo/minilm"),
    ],
)
def test_what_is_wrong_with_one_of_several_forms_is_reported_for_that_form(
    remote: openai.OpenAI, changes: dict, param: str, words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as told:
        remote.embeddings.create(**{"model": MINILM, **changes})
    assert told.value.param == param
    assert told.value.message.count("; ") == 0


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"temperature": 7}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 1000}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"model": MINILM}, "model"),
        ({"extra_body": {"wings": 2}}, "wings"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.0.content.0.type"),
        ({"stop": 5}, "stop"),
        ({"extra_body": {"prompt": "both"}}, "prompt"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(remote: openai.OpenAI, changes: dict, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as told:
        remote.chat.completions.create(**{"model": WORDS, "messages": SAID, **changes})
    assert told.value.param == param
    assert told.value.type == "invalid_request_error"


def test_too_long_a_prompt_is_a_bad_request(remote: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="tokens"):
            remote.completions.create(model=WORDS, prompt="word " * 20_000, stream=stream)


def test_a_wrong_key_is_refused(platform: UpPlatform) -> None:
    stranger = openai.OpenAI(api_key="lov_wrong", base_url=f"{platform.url}/v1", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError) as told:
        stranger.chat.completions.create(model=WORDS, messages=SAID)
    assert told.value.code == "invalid_api_key"


def test_embeddings_of_one_and_of_many_texts(remote: openai.OpenAI, client: httpx.Client) -> None:
    one = remote.embeddings.create(model=MINILM, input="hello", encoding_format="float")
    many = remote.embeddings.create(
        model=MINILM, input=["hello", "a longer sentence about the sea"]
    )  # base64 on the wire
    assert len(one.data[0].embedding) == 384
    assert many.data[0].embedding == pytest.approx(one.data[0].embedding, abs=1e-4)
    assert [vector.index for vector in many.data] == [0, 1]
    assert one.usage.prompt_tokens > 0
    raw = client.post(
        "/v1/embeddings", json={"model": MINILM, "input": "hello", "encoding_format": "base64"}
    ).json()
    numbers = struct.unpack("<384f", base64.b64decode(raw["data"][0]["embedding"]))
    assert numbers == pytest.approx(one.data[0].embedding, abs=1e-4)


def test_embeddings_of_token_ids_are_those_of_the_text(remote: openai.OpenAI) -> None:
    text = remote.embeddings.create(model=MINILM, input="hello")
    own = {"token_ids": True}  # else they could be another tokenizer's
    ids = remote.embeddings.create(model=MINILM, input=[101, 7592, 102], extra_body=own)  # [CLS] hello [SEP]
    both = remote.embeddings.create(model=MINILM, input=[[101, 7592, 102], [101, 102]], extra_body=own)
    assert ids.data[0].embedding == pytest.approx(text.data[0].embedding, abs=1e-4)
    assert both.data[0].embedding == pytest.approx(text.data[0].embedding, abs=1e-4)
    with pytest.raises(openai.BadRequestError, match="99999"):
        remote.embeddings.create(model=MINILM, input=[99999], extra_body=own)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length"):
        remote.embeddings.create(model=MINILM, input=[101])


def test_fewer_dimensions_have_length_one(remote: openai.OpenAI) -> None:
    short = remote.embeddings.create(model=MINILM, input="hello", dimensions=64).data[0].embedding
    assert len(short) == 64
    assert math.hypot(*short) == pytest.approx(1, abs=1e-4)
    with pytest.raises(openai.BadRequestError) as told:
        remote.embeddings.create(model=MINILM, input="hello", dimensions=4_000)
    assert told.value.param == "dimensions"


def test_images_come_as_urls_and_as_base64(remote: openai.OpenAI) -> None:
    by_url = remote.images.generate(model=DIGITS, prompt="3", n=2, response_format="url")
    assert by_url.data is not None
    assert len(by_url.data) == 2
    picture = httpx.get(by_url.data[0].url or "", trust_env=False)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    inline = remote.images.generate(model=DIGITS, prompt="3", response_format="b64_json")
    assert inline.data is not None
    assert base64.b64decode(inline.data[0].b64_json or "").startswith(b"\x89PNG")


def test_every_call_is_a_prediction_on_record(remote: openai.OpenAI, client: httpx.Client) -> None:
    made = remote.completions.create(model=WORDS, prompt="The record", max_tokens=3)
    row = client.get(f"/v1/predictions/{made.id.removeprefix('cmpl-')}").json()
    assert (row["status"], row["source"], row["model"]) == ("succeeded", "openai", WORDS)


def test_embeddings_and_images_are_predictions_on_record_too(
    remote: openai.OpenAI, client: httpx.Client
) -> None:
    vectors = remote.embeddings.create(model=MINILM, input=["on record", "and this"])
    remote.images.generate(model=DIGITS, prompt="3", n=2)
    drawn, embedded = client.get("/v1/predictions", params={"limit": 2}).json()["results"]
    assert [(row["model"], row["source"], row["status"]) for row in (embedded, drawn)] == [
        (MINILM, "openai", "succeeded"),
        (DIGITS, "openai", "succeeded"),
    ]
    assert embedded["metrics"]["input_tokens"] == vectors.usage.prompt_tokens > 4
    assert len(drawn["output"]) == 2


def left_behind(
    client: httpx.Client, remote: openai.OpenAI, model: str, pieces: int, **more: Any
) -> dict[str, Any]:
    """The prediction of a stream whose caller has left after so many pieces, once it has ended."""
    stream = remote.completions.create(model=model, prompt="The ship", stream=True, **more)
    told = [event.id for event in itertools.islice(stream, pieces)]
    stream.close()
    url = f"/v1/predictions/{told[0].removeprefix('cmpl-')}"
    eventually(lambda: client.get(url).json()["status"] not in ("starting", "processing"), 10)
    return dict(client.get(url).json())


def test_a_caller_who_leaves_a_stream_takes_its_prediction_along(
    remote: openai.OpenAI, client: httpx.Client
) -> None:
    ended = left_behind(client, remote, WORDS, 5, max_tokens=1_000, temperature=0.9, seed=4)
    assert ended["status"] == "canceled"


@pytest.fixture(scope="session")
def unhurried(platform: UpPlatform) -> str:
    """A model that takes its time for each step, and runs one prediction at a time."""
    folder = platform.roots / "unhurried"
    folder.mkdir(parents=True)
    (folder / "predictor.py").write_text(UNHURRIED)
    with platform.client() as http:
        made = http.post("/v1/models", json={"name": "unhurried", "version": {"source": "path:unhurried"}})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def test_within_three_steps_of_its_callers_leaving_a_slot_is_free(
    platform: UpPlatform, remote: openai.OpenAI, client: httpx.Client, unhurried: str
) -> None:
    remote.completions.create(model=unhurried, prompt="x", max_tokens=1)  # loads it
    ended = left_behind(client, remote, unhurried, 5, max_tokens=100)
    assert ended["status"] == "canceled"
    assert len(ended["output"]) <= 5 + 3, "5 had been read when the caller left"
    following = client.post(
        "/v1/predictions",
        json={"version": unhurried, "input": {"prompt": "x", "max_new_tokens": 1}},
        headers={"Prefer": "wait=30"},
    ).json()
    assert following["metrics"]["batch_wait"] < 3 * STEP, "it waited for the one that nobody reads"
    assert "never retrieved" not in (platform.folder / "logs" / "api.log").read_text()


def test_a_caller_who_leaves_a_plain_call_cancels_it(platform: UpPlatform, client: httpx.Client) -> None:
    body = {
        "model": WORDS,
        "prompt": "The ship",
        "max_tokens": 1_000,
        "temperature": 0.9,
        "seed": 2,
        "stream": False,
    }
    headers = {"Authorization": f"Bearer {platform.key}"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{platform.url}/v1/completions", json=body, headers=headers, timeout=0.3, trust_env=False)
    newest = client.get("/v1/predictions", params={"limit": 1}).json()["results"][0]
    eventually(lambda: client.get(f"/v1/predictions/{newest['id']}").json()["status"] == "canceled", 5)


def test_the_helpers_of_the_client_work(remote: openai.OpenAI) -> None:
    asked = {"model": WORDS, "messages": SAID, "temperature": 0}
    said = remote.chat.completions.create(**asked, max_tokens=30).choices[0].message.content or ""
    asked["stop"] = said.split()[4]  # a text that ends at its limit is an error to these helpers
    with remote.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "".join(pieces)
    assert final.usage is not None
    parsed = remote.chat.completions.parse(**asked)
    assert parsed.choices[0].message.content == "".join(pieces)
    raw = remote.chat.completions.with_raw_response.create(**asked, max_tokens=2)
    assert raw.request_id == raw.headers["x-request-id"]
    with remote.completions.with_streaming_response.create(
        model=WORDS, prompt="The ship", max_tokens=5, stream=True
    ) as opened:
        lines = [line for line in opened.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_the_async_client(platform: UpPlatform) -> None:
    async def run() -> tuple[str, list[str], int]:
        async with openai.AsyncOpenAI(
            api_key=platform.key, base_url=f"{platform.url}/v1", max_retries=0
        ) as remote:
            whole, vectors, pictures = await asyncio.gather(
                remote.chat.completions.create(model=WORDS, messages=SAID, max_tokens=10, temperature=0),
                remote.embeddings.create(model=MINILM, input=["a", "b", "c"]),
                remote.images.generate(model=DIGITS, prompt="3", response_format="b64_json"),
            )
            assert pictures.data
            assert WORDS in [model.id async for model in remote.models.list()]
            assert (await remote.models.retrieve(WORDS)).id == WORDS
            assert (
                (await remote.completions.create(model=WORDS, prompt="The ship", max_tokens=3))
                .choices[0]
                .text
            )
            with pytest.raises(openai.NotFoundError):
                await remote.chat.completions.create(model="gpt-4o", messages=SAID)
            with pytest.raises(openai.BadRequestError):
                await remote.chat.completions.create(model=WORDS, messages=SAID, temperature=7, stream=True)
            stream = await remote.chat.completions.create(
                model=WORDS, messages=SAID, max_tokens=10, temperature=0, stream=True
            )
            pieces = [event.choices[0].delta.content or "" async for event in stream]
            return whole.choices[0].message.content or "", pieces, len(vectors.data)

    text, pieces, vectors = asyncio.run(run())
    assert "".join(pieces) == text
    assert vectors == 3

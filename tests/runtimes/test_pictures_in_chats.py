"""Conversations with pictures in them: what the library's own `generate` says, alone and beside others."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from running import Feed, jobs, load, outputs, run

from app.domain.work import Chunk, Delivered
from app.runtimes.base import Job, Runtime
from app.runtimes.text.prompt_pictures import TASK
from scripts.clients.models import make_seer

TEXT = {"type": "text", "text": "What is it?"}
PICTURE = {"type": "image"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = Path(tmp_path_factory.mktemp("seer"))
    make_seer(made)
    for number, colour in enumerate(("red", "blue")):
        Image.linear_gradient("L").resize((50, 40)).save(made / f"{number}.png")
        Image.new("RGB", (48, 64), colour).save(made / f"{colour}.png")
    return made


@pytest.fixture(scope="module")
def seer(folder: Path) -> Runtime:
    return load("text-generation", folder, task=TASK)


def asked(content: Any, *pictures: Path) -> dict[str, Any]:
    messages = [{"role": "user", "content": content}]
    images = {"images": [str(picture) for picture in pictures]} if pictures else {}
    return {"messages": messages, **images, "temperature": 0, "max_new_tokens": 12}


def by_library(folder: Path, content: list[dict[str, Any]], *pictures: Path) -> str:
    """The same from transformers, without anything of ours."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder)
    net = AutoModelForImageTextToText.from_pretrained(folder).eval()
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [Image.open(picture).convert("RGB") for picture in pictures] or None
    made = processor(text=text, images=images, return_tensors="pt")
    ids = net.generate(**made, max_new_tokens=12, do_sample=False)[0, made["input_ids"].shape[1] :]
    return str(processor.tokenizer.decode(ids, skip_special_tokens=True))


@pytest.mark.parametrize("continuous", [True, False])
def test_answers_about_pictures_are_the_librarys_alone_and_beside_others(
    seer: Runtime, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, continuous: bool
) -> None:
    assert seer.facts()["continuous_batching"] is True
    monkeypatch.setattr(seer, "_is_continuous", continuous)
    red, blue = folder / "red.png", folder / "blue.png"
    questions = [
        ([PICTURE, TEXT], (red,)),
        ([PICTURE, TEXT], (blue,)),
        ([PICTURE, TEXT, PICTURE], (red, blue)),
    ]
    right = [by_library(folder, content, *pictures) for content, pictures in questions]
    assert len(set(right)) == 3, "it sees a difference"
    inputs = [asked(content, *pictures) for content, pictures in questions]
    texts = ["".join(output) for output in outputs(seer, [*inputs, asked("What is it?")], tmp_path)]
    assert texts == [*right, by_library(folder, [TEXT])]
    assert "".join(outputs(seer, inputs[:1], tmp_path)[0]) == right[0]


def test_an_answer_about_a_picture_is_streamed_and_its_tokens_count(
    seer: Runtime, folder: Path, tmp_path: Path
) -> None:
    endings, chunks = run(seer, jobs(seer, [asked([PICTURE, TEXT], folder / "red.png")], tmp_path))
    assert endings["0"].output == chunks["0"]
    assert len(chunks["0"]) > 3
    assert endings["0"].metrics["prompt_tokens"] > 16, "those of the picture"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (asked([PICTURE, TEXT]), "images: are 0, and the messages name 1"),
        (asked([TEXT], Path("red.png")), "images: are 1, and the messages name 0"),
        (asked([PICTURE, TEXT], Path(__file__)), "images.0: the file is not a picture"),
        ({"prompt": "x", "images": ["red.png"]}, "images: are named by `messages`"),
    ],
)
def test_pictures_that_cannot_be_seen_are_refused_by_name(
    seer: Runtime, tmp_path: Path, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        jobs(seer, [values], tmp_path)


def test_an_answer_about_a_picture_goes_on_after_its_process_died(
    seer: Runtime, folder: Path, tmp_path: Path
) -> None:
    question = asked([PICTURE, TEXT], folder / "red.png")
    events = [event for _, event in seer.run(jobs(seer, [question], tmp_path), Feed())]
    given = [event for event in events[:4] if isinstance(event, Chunk)]
    delivered = Delivered([chunk.data for chunk in given], [chunk.state for chunk in given])
    again = Job("0", question, files=str(tmp_path), delivered=delivered)
    seer.prepare(again)
    assert again.continued == 4
    endings, chunks = run(seer, [again])
    assert [*delivered.chunks, *chunks["0"]] == endings["0"].output == events[-1].output

"""One question to a model, asked as a worker does and of its own library, and how far the answers are
apart."""

import math
import wave
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers as t

from app.domain.work import FILE_KEY, Failed, Finished, ModelSpec
from app.runtimes import registry
from app.runtimes.base import Alone, Job
from app.runtimes.sound import read_sound

RATE = 16_000
TEXTS = ("the whale is white", "ada lives in rome hello sea")
SEQ2SEQ_TASKS = ("summarization", "translation", "text2text-generation")


def input_for(runtime: str, task: str, folder: Path) -> dict[str, Any]:
    """What is asked of a model of this task."""
    if runtime == "text-generation":
        return {"prompt": TEXTS[0], "max_new_tokens": 12, "temperature": 0}
    if runtime == "pair-scoring":
        return {"query": TEXTS[0], "texts": list(TEXTS)}
    if task == "fill-mask":
        return {"text": "the whale is [MASK]"}
    if task == "automatic-speech-recognition":
        return {"audio": sound(folder)}
    if "image" in task or task == "object-detection":
        labels = {"labels": ["whale", "ship"]} if task.startswith("zero-shot") else {}
        threshold = {"threshold": 0.0} if task == "object-detection" else {}
        return {"image": picture(folder), **labels, **threshold}
    tokens = {"max_new_tokens": 12} if task in SEQ2SEQ_TASKS else {}
    return {"text": list(TEXTS) if runtime == "embedding" else TEXTS[0], **tokens}


def sound(folder: Path) -> str:
    """Two seconds of a tone."""
    samples = (numpy.sin(numpy.arange(32_000) * 0.05) * 8_000).astype("<i2")
    with wave.open(str(folder.parent / "tone.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return str(folder.parent / "tone.wav")


def picture(folder: Path) -> str:
    from PIL import Image

    pixels = numpy.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype="uint8")
    Image.fromarray(pixels).save(folder.parent / "dots.png")
    return str(folder.parent / "dots.png")


def answer_of(folder: Path, runtime: str, task: str, values: dict[str, Any]) -> Any:
    """What a worker's model process would answer. Raises ValueError with its sentence."""
    spec = ModelSpec("v", "family/model", runtime, task, str(folder), {"dtype": "float32"})
    model = registry.find(runtime).load(spec)
    job = Job("one", values, files=str(folder.parent / "files"))
    model.prepare(job)
    ending = [event for _, event in model.run([job], Alone()) if isinstance(event, Finished | Failed)][-1]
    if isinstance(ending, Failed):
        raise ValueError(ending.error)
    if isinstance(ending.output, dict) and FILE_KEY in ending.output:
        return read_sound(str(Path(job.folder) / ending.output[FILE_KEY]), RATE).tolist()
    return ending.output


def librarys_answer(folder: Path, runtime: str, task: str, values: dict[str, Any]) -> Any:
    """The same question to transformers."""
    if runtime == "embedding":
        return vectors(folder, values["text"])
    if runtime == "text-generation":
        return continuation(folder, values["prompt"])
    if runtime == "pair-scoring":
        return scores(folder, values)
    if task in SEQ2SEQ_TASKS:
        net, words = t.AutoModelForSeq2SeqLM.from_pretrained(folder), t.AutoTokenizer.from_pretrained(folder)
        encoded = words(values["text"], return_tensors="pt", return_token_type_ids=False)
        ids = net.generate(**encoded, max_new_tokens=12, do_sample=False)
        return words.decode(ids[0], skip_special_tokens=True)
    pipe = t.pipeline(task, model=str(folder), device="cpu", dtype=torch.float32)
    if task.startswith("zero-shot"):
        return pipe(values["image"], candidate_labels=values["labels"])
    options: dict[str, Any] = (
        {"top_k": 5} if task in ("text-classification", "fill-mask", "image-classification") else {}
    )
    options |= {"threshold": values["threshold"]} if "threshold" in values else {}
    options |= {"aggregation_strategy": "simple"} if task == "token-classification" else {}
    if task == "automatic-speech-recognition":
        return pipe({"raw": read_sound(values["audio"], RATE), "sampling_rate": RATE}, **options)
    answer = pipe(values.get("text") or values["image"], **options)
    return answer["audio"].reshape(-1) if task == "text-to-audio" else answer


def vectors(folder: Path, texts: list[str]) -> Any:
    """Means of the last states."""
    from app.runtimes.encoders.embedding import encoder_class

    net = encoder_class(t.AutoConfig.from_pretrained(folder)).from_pretrained(folder).eval()
    words = t.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        each = [words(text, return_tensors="pt") for text in texts]
        names = ("input_ids", "attention_mask")
        return [
            net(**{name: one[name] for name in names}).last_hidden_state.mean(1)[0].tolist() for one in each
        ]


def continuation(folder: Path, prompt: str) -> str:
    net, words = (
        t.AutoModelForCausalLM.from_pretrained(folder).eval(),
        t.AutoTokenizer.from_pretrained(folder),
    )
    encoded = words(prompt, return_tensors="pt")
    ids = net.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        max_new_tokens=12,
        do_sample=False,
    )
    return words.decode(ids[0, encoded["input_ids"].shape[1] :], skip_special_tokens=True)


def scores(folder: Path, values: dict[str, Any]) -> list[float]:
    net = t.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    words = t.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = [net(**words(values["query"], text, return_tensors="pt")).logits for text in values["texts"]]
    return [float(torch.sigmoid(each)[0, 0]) for each in logits]


def furthest(ours: Any, theirs: Any) -> float:
    """The largest difference of two numbers; infinite where something else differs."""
    if isinstance(ours, dict) and isinstance(theirs, str) and len(ours) == 1:
        [ours] = ours.values()
    if isinstance(ours, list) and all(isinstance(part, str) for part in ours) and isinstance(theirs, str):
        ours = "".join(ours)
    if hasattr(ours, "tolist"):
        ours = ours.tolist()
    if isinstance(theirs, list) and len(theirs) == 1 and not isinstance(ours, list):
        theirs = theirs[0]
    if isinstance(ours, bool | str) or ours is None:
        same = ours == theirs or (
            isinstance(ours, str) and isinstance(theirs, str) and ours.strip() == theirs.strip()
        )
        return 0.0 if same else math.inf
    if isinstance(ours, int | float):
        return abs(ours - float(theirs))
    if isinstance(ours, dict):
        return max((furthest(ours[name], theirs.get(name)) for name in ours if name != "mask"), default=0.0)
    if isinstance(ours, list | tuple) and len(ours) == len(theirs):
        return max((furthest(*pair) for pair in zip(ours, theirs, strict=True)), default=0.0)
    return math.inf

"""Tasks for which transformers 5 has no pipeline any more: answers found in a text, text to text, captions.

Each class has `load` and `answer` (a list of inputs, prepared by `pipeline`, to a list of JSON answers). They
know nothing of jobs.
"""

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import torch

from app.domain.work import ModelSpec
from app.runtimes import weights
from app.runtimes.encoders.embedding import positions_of
from app.runtimes.encoders.rows import padded
from app.runtimes.pipelines.languages import Languages

# Tokens that two windows of a long context share, so that no answer is cut in two.
STRIDE = 128
MOST_ANSWER_TOKENS = 30
UNBOUNDED = 2**31  # positions
MOST_WINDOW = 384  # tokens of question and context, as the old pipeline had it


class QuestionAnswering:
    """The span of the context that answers the question: {score, start, end, answer}, as the old pipeline
    gave it."""

    def __init__(self, net: Any, tokenizer: Any, device: str) -> None:
        self.net, self.tokenizer = net, tokenizer
        self._device = device
        self._limit = min(MOST_WINDOW, positions_of(net.config), tokenizer.model_max_length)

    @classmethod
    def load(cls, model: ModelSpec) -> "QuestionAnswering":
        from transformers import AutoModelForQuestionAnswering

        net, _ = weights.load_network(AutoModelForQuestionAnswering, model)
        return cls(net, weights.load_tokenizer(weights.model_folder(model), model), model.device)

    def answer(self, inputs: Sequence[dict[str, Any]]) -> list[Any]:
        return [
            self._find_answers(values["question"], values["context"], int(values.get("top_k") or 1))
            for values in inputs
        ]

    def _find_answers(self, question: str, context: str, top_k: int) -> Any:
        windows = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=self._limit,
            stride=min(STRIDE, self._limit // 4),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        scores: dict[tuple[int, int], float] = {}
        for number, chances in enumerate(self._chances(windows)):
            offsets, parts = windows["offset_mapping"][number], windows.sequence_ids(number)
            for score, start, end in _spans(chances, [part == 1 for part in parts], top_k):
                span = (offsets[start][0], offsets[end][1])
                scores[span] = max(score, scores.get(span, 0.0))
        best = sorted(scores.items(), key=lambda item: -item[1])[:top_k]
        answers = [{"score": score, "start": a, "end": b, "answer": context[a:b]} for (a, b), score in best]
        return answers[0] if top_k == 1 and answers else answers

    def _chances(self, windows: Any) -> list[tuple[Any, Any]]:
        """Logits of start and end, for each window."""
        logits = []
        for number, row in enumerate(windows["input_ids"]):
            ids, mask = padded([row], 0, self._device)
            more = {}
            if "token_type_ids" in windows:
                more["token_type_ids"] = torch.tensor(
                    [windows["token_type_ids"][number]], device=self._device
                )
            with torch.inference_mode():
                out = self.net(input_ids=ids, attention_mask=mask, **more)
            logits.append((out.start_logits[0].float().cpu(), out.end_logits[0].float().cpu()))
        return logits


def _spans(logits: tuple[Any, Any], usable: Sequence[bool], count: int) -> list[tuple[float, int, int]]:
    """(score, first token, last token) of the likeliest spans within the context; a score is the product of
    the chances of its start and its end."""
    if not any(usable):
        return []
    hidden = ~torch.tensor(usable)
    start, end = (part.masked_fill(hidden, float("-inf")).softmax(-1) for part in logits)
    scores = (start[:, None] * end[None, :]).triu().tril(MOST_ANSWER_TOKENS - 1)
    best = scores.flatten().topk(min(count, scores.numel()))
    pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return [(score, index // len(usable), index % len(usable)) for score, index in pairs if score > 0]


class TextToText:
    """Summaries, translations and the like by encoder-decoder models, greedily: {key: text}."""

    keys: ClassVar[dict[str, str]] = {"summarization": "summary_text", "translation": "translation_text"}

    def __init__(self, net: Any, tokenizer: Any, model: ModelSpec) -> None:
        self.net, self.tokenizer = net, tokenizer
        self._device, self._task = model.device, model.task
        self._key = self.keys.get(model.task, "generated_text")
        self._most = decoder_positions(net)
        self._languages = Languages(copy.deepcopy(tokenizer), net.config)

    @classmethod
    def load(cls, model: ModelSpec) -> "TextToText":
        from transformers import AutoModelForSeq2SeqLM

        net, _ = weights.load_network(AutoModelForSeq2SeqLM, model)
        return cls(net, weights.load_tokenizer(weights.model_folder(model), model), model)

    def check(self, values: dict[str, Any]) -> None:
        """Raises ValueError for languages that the model does not know."""
        self._languages.check(*languages_of(values))

    def answer(self, inputs: Sequence[dict[str, Any]]) -> list[Any]:
        """All of the same languages."""
        source, target = languages_of(inputs[0])
        prefix = self._languages.prefix(self._task, source, target)
        options = self._languages.choose(source, target)
        texts = [prefix * (not values["text"].startswith(prefix)) + values["text"] for values in inputs]
        rows = self._languages.tokenizer(texts, truncation=True)["input_ids"]
        ids, mask = padded(rows, self.tokenizer.pad_token_id or 0, self._device)
        options |= _limits(inputs, self._most)
        with torch.inference_mode():
            ids = self.net.generate(input_ids=ids, attention_mask=mask, **options)
        return [{self._key: text} for text in self.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def languages_of(values: dict[str, Any]) -> tuple[str | None, str | None]:
    """Of a request, from which and to which; None where it does not say."""
    return values.get("source_language") or None, values.get("target_language") or None


class Captions:
    """What a picture shows, in words: {generated_text}."""

    def __init__(self, net: Any, processor: Any, device: str) -> None:
        self.net, self._processor = net, processor
        self.tokenizer: Any = None  # no text is read
        self._device, self._most = device, decoder_positions(net)

    @classmethod
    def load(cls, model: ModelSpec) -> "Captions":
        from transformers import AutoModelForImageTextToText, AutoProcessor

        net, _ = weights.load_network(AutoModelForImageTextToText, model)
        return cls(
            net,
            AutoProcessor.from_pretrained(weights.model_folder(model), **weights.loading_options(model)),
            model.device,
        )

    def answer(self, inputs: Sequence[dict[str, Any]]) -> list[Any]:
        pictures = [values["image"] for values in inputs]
        processed = self._processor(images=pictures, return_tensors="pt").to(self._device)
        pixels = processed["pixel_values"].to(self.net.dtype)
        with torch.inference_mode():
            ids = self.net.generate(pixel_values=pixels, **_limits(inputs, self._most))
        texts = self._processor.batch_decode(ids, skip_special_tokens=True)
        return [{"generated_text": text.strip()} for text in texts]


def _limits(inputs: Sequence[dict[str, Any]], most: int) -> dict[str, Any]:
    """Greedy, so that company changes nothing; the batch shares its limit (it is in the batch key), which is
    `most` where it is larger: the decoder has no positions behind that."""
    wish = int(inputs[0].get("max_new_tokens") or 128)
    return {"max_new_tokens": min(wish, most), "do_sample": False, "num_beams": 1}


def decoder_positions(net: Any) -> int:
    """Of an answer's tokens; very many where the decoder counts none, as T5's."""
    config = net.config.get_text_config(decoder=True)
    return int(getattr(config, "max_position_embeddings", None) or UNBOUNDED)


CLASSES: dict[str, type[QuestionAnswering] | type[TextToText] | type[Captions]] = {
    "question-answering": QuestionAnswering,
    "summarization": TextToText,
    "translation": TextToText,
    "text2text-generation": TextToText,
    "image-to-text": Captions,
}

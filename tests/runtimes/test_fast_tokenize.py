"""Ids straight from a tokenizer are those that transformers gives, or transformers gives them."""

from typing import Any

import pytest
from transformers import AutoTokenizer

from app.runtimes.demo import demo_minilm_folder
from app.runtimes.encoders.fast_tokenize import fast_tokenize

TEXTS = ["Lovage.", "", "naïve 東京 🙂 [SEP]", "word " * 50]


@pytest.fixture
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(demo_minilm_folder())


@pytest.mark.parametrize("limit", [8, 256, 2**31])
def test_the_same_ids_cut_at_the_limit(tokenizer: Any, limit: int) -> None:
    ids = fast_tokenize(tokenizer, limit)
    assert ids.__name__ == "direct"
    assert ids(TEXTS) == tokenizer(TEXTS, truncation=True, max_length=limit)["input_ids"]
    assert max(map(len, ids(TEXTS))) == min(limit, 52)
    assert ids([]) == []


def test_one_that_answers_differently_is_not_passed_by(tokenizer: Any) -> None:
    class Own:
        """A tokenizer whose Python changes what the part below it gives."""

        backend_tokenizer = tokenizer.backend_tokenizer

        def __call__(self, texts: list[str], **options: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [ids[::-1] for ids in tokenizer(texts, **options)["input_ids"]]}

    ids = fast_tokenize(Own(), 256)
    assert ids(["Lovage."]) == [tokenizer("Lovage.")["input_ids"][::-1]]
    assert ids([]) == []


def test_one_without_such_a_part_is_used_as_it_is() -> None:
    class Slow:
        def __call__(self, texts: list[str], **options: Any) -> dict[str, list[list[int]]]:
            return {"input_ids": [list(range(len(text.split())))[: options["max_length"]] for text in texts]}

    assert fast_tokenize(Slow(), 2)(["a b c", "a"]) == [[0, 1], [0]]

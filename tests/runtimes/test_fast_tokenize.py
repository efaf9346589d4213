"""Ids straight from a tokenizer are those that transformers gives, or transformers gives them."""

from typing import Any

import pytest
from transformers import AutoTokenizer

from app.runtimes.demo import demo_minilm_folder
from app.runtimes.encoders.fast_tokenize import fast_tokenize, tokenize_beginnings
from app.runtimes.text_beginnings import first_size

TEXTS = ["Lovage.", "", "naïve 東京 🙂 [SEP]", "word " * 50]


@pytest.fixture
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(demo_minilm_folder())


@pytest.mark.parametrize("limit", [8, 256, 2**31])
def test_the_same_ids_cut_at_the_limit(tokenizer: Any, limit: int) -> None:
    ids = fast_tokenize(tokenizer, limit)
    assert ids.args[0].__name__ == "direct"
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


BOOK = "word " * 200_000


@pytest.mark.parametrize("text", [BOOK, " " * 300_000 + "end", "é" * 200_000, "[UNK] " * 40_000 + "x"])
def test_what_lies_far_behind_the_limit_is_not_looked_at_and_changes_nothing(
    tokenizer: Any, text: str
) -> None:
    ids = fast_tokenize(tokenizer, 128)
    expected = tokenizer([text, "short"], truncation=True, max_length=128)["input_ids"]
    assert ids([text, "short"]) == expected


def test_a_book_is_tokenised_no_further_than_it_is_read(tokenizer: Any) -> None:
    sizes: list[int] = []

    def tokenize(texts: list[str]) -> list[list[int]]:
        sizes.extend(map(len, texts))
        return tokenizer(texts, truncation=True, max_length=128)["input_ids"]

    assert len(tokenize_beginnings(tokenize, 128, [BOOK])[0]) == 128
    assert sizes == [first_size(128)]

"""Prompts that begin alike are read from behind the common beginning on, and answered as if they were not."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from running import jobs, load, outputs, run
from tiny_models import SMALL, VOCABULARY, gpt2, save, word_pieces

from app.runtimes.base import Runtime
from app.runtimes.text.prefix_cache import MOST_KEPT, PrefixCache

BEGINNING = "the whale is white and ada lives in rome . " * 8
ENDS = ("hello", "good bad word", "lovage is a plant , hello", "ada")


def llama(folder: Path, kind: str = "Llama", **more: Any) -> Path:
    torch.manual_seed(1)
    sizes = {**SMALL, "vocab_size": len(VOCABULARY), "num_key_value_heads": 1, "max_position_embeddings": 256}
    ends = {"eos_token_id": 3, "pad_token_id": 0, "bos_token_id": 2}
    config = getattr(t, f"{kind}Config")(**{**sizes, **ends, **more})
    return save(getattr(t, f"{kind}ForCausalLM")(config), folder, word_pieces())


@pytest.fixture(scope="module", params=["GPT-2", "Llama", "Mistral, sliding window"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    if request.param == "GPT-2":
        return gpt2(folder, n_positions=256)
    return llama(folder, "Mistral", sliding_window=16) if "Mistral" in request.param else llama(folder)


def ask(*ends: str) -> list[dict[str, Any]]:
    common = {"temperature": 0, "max_new_tokens": 8, "ignore_eos": True, "logprobs": 0}
    return [{"prompt": BEGINNING + end, **common} for end in ends]


def chances(answer: list[dict[str, Any]]) -> list[float]:
    return [token["logprob"] for piece in answer for token in piece["logprobs"]]


def cached(model: Runtime, given: list[dict[str, Any]], folder: Path) -> list[int]:
    ended, _ = run(model, jobs(model, given, folder))
    return [ended[str(n)].metrics.get("cached_tokens", 0) for n in range(len(given))]  # type: ignore[union-attr]


def test_answers_are_those_of_whole_prompts(folder: Path, tmp_path: Path) -> None:
    without = load("text-generation", folder, config={"prefix_cache_bytes": 0})
    expected = [outputs(without, [each], tmp_path)[0] for each in ask(*ENDS)]
    model = load("text-generation", folder)
    first = outputs(model, ask(ENDS[0]), tmp_path)
    together = outputs(model, ask(*ENDS[1:]), tmp_path)
    for ours, theirs in zip([*first, *together], expected, strict=True):
        assert [piece["content"] for piece in ours] == [piece["content"] for piece in theirs]
        assert chances(ours) == pytest.approx(chances(theirs), abs=1e-4)


def test_the_metrics_say_what_was_read_before(folder: Path, tmp_path: Path) -> None:
    model = load("text-generation", folder)
    length = len(word_pieces()(BEGINNING)["input_ids"]) - 1  # without the last special token
    assert cached(model, ask(ENDS[0]), tmp_path) == [0]
    assert cached(model, ask(ENDS[1], ENDS[2]), tmp_path) == [length, length]
    other = [{"prompt": "hello " + BEGINNING, "temperature": 0, "max_new_tokens": 2}]
    assert cached(model, other, tmp_path) == [0]
    again = cached(model, other, tmp_path)[0]
    assert again == len(word_pieces()(other[0]["prompt"])["input_ids"]) - 1, "all but the last token"
    off = load("text-generation", folder, config={"prefix_cache_bytes": 0})
    assert [cached(off, ask(ENDS[0]), tmp_path)[0] for _ in range(2)] == [0, 0]


class Layer:
    """Of transformers' cache: one row, one head, one number a token: four bytes each for key and value."""

    def __init__(self, tokens: int) -> None:
        self.keys = self.values = torch.arange(float(tokens)).view(1, 1, tokens, 1)


def test_what_is_kept_is_bounded_and_the_longest_unused_goes_first() -> None:
    cache = PrefixCache(2 * 100 * 8, least=10)
    prompts = [[n] * 100 for n in range(3)]
    for prompt in prompts[:2]:
        cache.keep(prompt, [Layer(100)], 0)
    assert cache.find([*prompts[0], 7]) is not None, "used, so the other one is the oldest"
    cache.keep(prompts[2], [Layer(100)], 0)
    found = [cache.find([*prompt, 7]) for prompt in prompts]
    assert [each.length if each else 0 for each in found] == [100, 0, 100]
    cache.keep([5] * 300, [Layer(300)], 0)
    assert cache.find([5] * 301) is None, "larger than all that may be kept"


def test_as_many_are_kept_as_are_quickly_compared() -> None:
    cache = PrefixCache(2**30, least=10)
    for number in range(MOST_KEPT + 1):
        cache.keep([number] * 20, [Layer(20)], 0)
    assert [cache.find([number] * 21) is not None for number in (0, 1, MOST_KEPT)] == [False, True, True]


def test_little_that_is_new_is_not_kept_again() -> None:
    cache = PrefixCache(2**20, least=10)
    cache.keep([1] * 100, [Layer(100)], 0)
    cache.keep([1] * 100 + [2] * 9, [Layer(109)], 0)
    beginning = cache.find([1] * 100 + [2] * 9)
    assert beginning is not None
    assert beginning.length == 100

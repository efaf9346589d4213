"""Choosing tokens: the distribution is that of transformers' warpers, and company changes nobody's choice."""

from dataclasses import dataclass, field

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from app.runtimes.text.sampling import Sampling, UniformGenerator, choose_tokens

WAYS = [
    Sampling(),
    Sampling(repetition_penalty=1.5),
    Sampling(temperature=1.0),
    Sampling(temperature=0.8, top_k=5),
    Sampling(temperature=0.8, top_k=50, top_p=0.9),
    Sampling(temperature=1.3, top_p=0.7),
    Sampling(temperature=1.3, top_k=900, top_p=0.99, repetition_penalty=1.2),
    Sampling(temperature=2.0, top_k=3000),
    Sampling(temperature=1.0, top_p=0.0),
]


@dataclass
class Row:
    sampling: Sampling
    generator: UniformGenerator
    seen: list[int] = field(default_factory=lambda: [1, 2, 3])


def rows(seed: int = 0) -> list[Row]:
    return [Row(way, UniformGenerator(seed + n)) for n, way in enumerate(WAYS)]


def test_company_changes_nobodys_choice() -> None:
    logits = torch.randn(len(WAYS), 4096, generator=torch.Generator().manual_seed(1)) * 3
    alone = [choose_tokens(logits[n : n + 1].clone(), [row])[0] for n, row in enumerate(rows())]
    assert choose_tokens(logits.clone(), rows()) == alone
    order = list(reversed(range(len(WAYS))))
    assert choose_tokens(logits[order].clone(), [rows()[n] for n in order]) == [alone[n] for n in order]
    twice = [*order, *order]
    assert choose_tokens(logits[twice].clone(), [rows()[n] for n in twice]) == [alone[n] for n in twice]


def test_logits_of_a_model_in_inference_mode_are_left_as_they_are() -> None:
    with torch.inference_mode():
        logits = torch.ones(len(WAYS), 40)
    choose_tokens(logits, rows())
    assert torch.equal(logits, torch.ones(len(WAYS), 40))


@pytest.mark.parametrize("way", [way for way in WAYS if way.top_p > 0], ids=str)
def test_the_distribution_is_that_of_transformers(way: Sampling) -> None:
    logits = torch.randn(1, 40, generator=torch.Generator().manual_seed(2)) * 2
    warpers = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(way.repetition_penalty)])
    if way.temperature:
        warpers.append(TemperatureLogitsWarper(way.temperature))
        warpers += [TopKLogitsWarper(way.top_k)] if way.top_k else []
        warpers += [TopPLogitsWarper(way.top_p)] if way.top_p < 1 else []
    expected = warpers(torch.tensor([[1, 2, 3]]), logits.clone())[0].softmax(-1)
    times = 6_000
    row = Row(way, UniformGenerator(5))
    found = (
        torch.bincount(
            torch.tensor(choose_tokens(logits.expand(times, -1).clone(), [row] * times)), minlength=40
        )
        / times
    )
    if not way.temperature:
        assert found.argmax() == expected.argmax()
        assert found.max() == 1
        return
    assert set(found.nonzero().flatten().tolist()) <= set(expected.nonzero().flatten().tolist())
    assert (found - expected).abs().max() < 0.03  # five standard deviations of 6,000 throws


def test_the_same_seed_draws_the_same_numbers_and_another_others() -> None:
    one, same, other = UniformGenerator(7), UniformGenerator(7), UniformGenerator(8)
    first = [one.draw() for _ in range(200)]
    assert first == [same.draw() for _ in range(200)]
    assert first != [other.draw() for _ in range(200)]
    assert 0 <= min(first) < max(first) < 1

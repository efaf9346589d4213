"""Families of causal models, tiny and random: the loop that fits each gives what `generate` gives each
alone."""

from pathlib import Path

import pytest
import torch
import transformers
from running import Feed, jobs, load, run

from app.domain.work import Canceled, Chunk, Delivered
from app.runtimes.base import Job, Runtime
from app.runtimes.demo import SHIPPED

SMALL = {"vocab_size": 4096, "hidden_size": 32, "num_hidden_layers": 2, "bos_token_id": 0, "eos_token_id": 0}
HEADS = {
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 256,
}
FAMILIES = {
    "LlamaConfig": (True, {**SMALL, **HEADS}),
    "Qwen2Config": (True, {**SMALL, **HEADS}),
    "MistralConfig": (True, {**SMALL, **HEADS, "sliding_window": 4}),
    "Gemma2Config": (True, {**SMALL, **HEADS, "sliding_window": 4, "head_dim": 8}),
    "Gemma3TextConfig": (True, {**SMALL, **HEADS, "sliding_window": 4, "head_dim": 8}),
    "MambaConfig": (False, {**SMALL, "state_size": 4}),
    "BloomConfig": (False, {**SMALL, "n_head": 4, "n_layer": 2}),
}
PROMPTS = ["The whale", "Alice was beginning to get very tired", "It", "The captain of the ship said that"]
INPUTS = [
    {"prompt": prompt, "temperature": 0, "max_new_tokens": 6 + 5 * n} for n, prompt in enumerate(PROMPTS)
]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory) -> tuple[Runtime, bool]:
    """A loaded model of the family, and whether requests are to join between steps."""
    serves, values = FAMILIES[request.param]
    torch.manual_seed(3)
    config = getattr(transformers, request.param)(**values)
    net = transformers.AutoModelForCausalLM.from_config(config)
    for weight in net.parameters():
        weight.data.mul_(3)  # initial weights are so small that every family says one word for ever
    folder = tmp_path_factory.mktemp(request.param)
    net.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(SHIPPED / "words").save_pretrained(folder)
    return load("text-generation", folder), serves


def reference(model: Runtime, given: dict[str, object]) -> str:
    requests = model._requests
    ids = torch.tensor([requests._tokenizer(given["prompt"])["input_ids"]])
    settings = transformers.GenerationConfig(
        max_new_tokens=given["max_new_tokens"],
        do_sample=False,
        eos_token_id=sorted(requests._ends),
        pad_token_id=0,
    )
    out = model._net.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    return requests._tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_every_family_says_what_generate_says_though_others_come_and_go(family, tmp_path: Path) -> None:
    model, _ = family
    early, late = jobs(model, INPUTS[:2], tmp_path), jobs(model, INPUTS[2:], tmp_path, first=2)
    ended, chunks = run(model, early, Feed(late))
    if "2" not in ended:  # nobody joins a static batch
        more, rest = run(model, late)
        ended, chunks = ended | more, chunks | rest
    expected = [reference(model, given).rstrip("\ufffd") for given in INPUTS]
    assert ["".join(ended[str(n)].output) for n in range(4)] == expected  # type: ignore[union-attr]
    assert ["".join(chunks.get(str(n), [])) for n in range(4)] == expected


def test_every_family_goes_on_where_another_run_stopped(family, tmp_path: Path) -> None:
    model, _ = family
    wanted = {**INPUTS[3], "max_new_tokens": 30}
    events = [event for _, event in model.run(jobs(model, [wanted], tmp_path), Feed())]
    chunks = [event for event in events if isinstance(event, Chunk)]
    half = len(chunks) // 2
    cut = Delivered([chunk.data for chunk in chunks[:half]], [chunk.state for chunk in chunks[:half]])
    again = Job("again", wanted, delivered=cut)
    model.prepare(again)
    ended, more = run(model, [again, *jobs(model, INPUTS[:1], tmp_path)])
    assert more["again"] == [chunk.data for chunk in chunks[half:]]
    assert ended["again"] == events[-1]


def test_every_family_goes_on_behind_its_end_token_on_request(family, tmp_path: Path) -> None:
    model, _ = family
    asked = {"prompt": "It", "temperature": 0, "max_new_tokens": 7, "logit_bias": {"0": 100}}  # 0 ends texts
    ended, _ = run(model, jobs(model, [asked, {**asked, "ignore_eos": True}], tmp_path))
    assert [ended[name].metrics["output_tokens"] for name in "01"] == [1, 7]  # type: ignore[union-attr]


def test_the_loop_is_chosen_by_trying(family) -> None:
    model, serves = family
    assert model._is_continuous is serves


def test_a_cancel_stops_one_and_not_its_neighbour(family, tmp_path: Path) -> None:
    model, _ = family
    wanted = [{**INPUTS[0], "max_new_tokens": 100}, {**INPUTS[0], "max_new_tokens": 9}]
    ended, _ = run(model, jobs(model, wanted, tmp_path), Feed(cancel={"0": 2}))
    assert isinstance(ended["0"], Canceled)
    assert ended["0"].metrics["output_tokens"] <= 4
    assert "".join(ended["1"].output) == reference(model, wanted[1]).rstrip("\ufffd")  # type: ignore[union-attr]

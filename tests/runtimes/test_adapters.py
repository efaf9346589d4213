"""Adapters (LoRA and its kin) that are merged when a version is loaded: the answers are those of peft."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from running import load, outputs
from tiny_models import bert, gpt2, word_pieces

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # asked by peft

TEXT = "the whale is white"


def adapter(net: Any, folder: Path, kind: str = "LoraConfig", **options: Any) -> Path:
    torch.manual_seed(2)
    adapted = peft.get_peft_model(net, getattr(peft, kind)(init_lora_weights=False, r=4, **options))
    adapted.save_pretrained(folder)
    return folder


def with_adapter(kind: Any, base: Path, folder: Path) -> Any:
    return peft.PeftModel.from_pretrained(kind.from_pretrained(base), str(folder)).eval()


@pytest.mark.parametrize(
    "options",
    [
        {"lora_alpha": 64, "target_modules": ["c_attn", "c_proj", "c_fc"]},
        {"lora_alpha": 64, "target_modules": ["c_attn", "wte"], "use_rslora": True},
        {"lora_alpha": 32, "target_modules": ["c_attn"], "use_dora": True},
    ],
    ids=["LoRA", "rank-stabilised, with the embeddings", "DoRA"],
)
def test_text_is_continued_as_peft_continues_it(tmp_path: Path, options: dict[str, Any]) -> None:
    base = gpt2(tmp_path / "base")
    net = t.AutoModelForCausalLM.from_pretrained(base)
    lora = adapter(net, tmp_path / "lora", fan_in_fan_out=True, task_type="CAUSAL_LM", **options)
    given = {"prompt": TEXT, "max_new_tokens": 12, "temperature": 0, "ignore_eos": True, "logprobs": 0}
    ours, plain = (
        outputs(load("text-generation", base, adapter=where), [given], tmp_path / "out")[0]
        for where in (str(lora), "")
    )
    tokenizer = word_pieces()
    ids = tokenizer(TEXT, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        logits = with_adapter(t.AutoModelForCausalLM, base, lora)(input_ids=ids).logits[0, -1]
    first = ours[0]["logprobs"][0]
    assert first["logprob"] == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-4)
    assert [piece["content"] for piece in ours] != [piece["content"] for piece in plain]


def test_vectors_are_those_of_peft(tmp_path: Path) -> None:
    base = bert(tmp_path / "base")
    net = t.AutoModel.from_pretrained(base)
    lora = adapter(
        net,
        tmp_path / "lora",
        lora_alpha=64,
        target_modules=["query", "dense"],
        task_type="FEATURE_EXTRACTION",
    )
    [ours], [plain] = (
        outputs(load("embedding", base, adapter=where), [{"text": TEXT}], tmp_path / "out")
        for where in (str(lora), "")
    )
    given = word_pieces()(TEXT, return_tensors="pt")
    with torch.inference_mode():
        states = with_adapter(t.AutoModel, base, lora)(**given).last_hidden_state
    assert ours == pytest.approx(states.mean(1)[0].tolist(), abs=1e-4)
    assert ours != pytest.approx(plain, abs=1e-2)


def test_a_head_that_the_adapter_brings_takes_the_place_of_the_bases(tmp_path: Path) -> None:
    base = bert(tmp_path / "base", "BertForSequenceClassification", num_labels=3)
    net = t.AutoModelForSequenceClassification.from_pretrained(base)
    with torch.no_grad():
        net.classifier.weight.add_(1.0)
    lora = adapter(net, tmp_path / "lora", lora_alpha=64, target_modules=["query"], task_type="SEQ_CLS")
    model = load("pipeline", base, task="text-classification", adapter=str(lora))
    [ours] = outputs(model, [{"text": TEXT, "top_k": 3}], tmp_path / "out")
    given = word_pieces()(TEXT, return_tensors="pt")
    with torch.inference_mode():
        logits = with_adapter(t.AutoModelForSequenceClassification, base, lora)(**given).logits[0]
    expected = sorted(logits.softmax(-1).tolist(), reverse=True)
    assert [each["score"] for each in ours] == pytest.approx(expected, abs=1e-4)


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    base, other = gpt2(tmp_path / "base"), gpt2(tmp_path / "other", n_embd=48)
    net = t.AutoModelForCausalLM.from_pretrained(other)
    lora = adapter(
        net, tmp_path / "lora", target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    with pytest.raises(ValueError, match="the adapter does not fit this base: "):
        load("text-generation", base, adapter=str(lora))


def test_an_adapter_whose_weights_are_others_than_it_says_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = gpt2(tmp_path / "base")
    net = t.AutoModelForCausalLM.from_pretrained(base)
    lora = adapter(
        net, tmp_path / "lora", target_modules=["c_attn"], fan_in_fan_out=True, task_type="CAUSAL_LM"
    )
    file = lora / "adapter_model.safetensors"
    save_file({name.replace("h.0", "h.7"): each for name, each in load_file(file).items()}, file)
    with pytest.raises(ValueError, match="it and the model disagree on"):
        load("text-generation", base, adapter=str(lora))

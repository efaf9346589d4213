"""The encoder without padding answers as transformers' own does, for every family, and stays away where it
would not."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

from app.domain.work import ModelSpec
from app.runtimes import mapped_pages, weights
from app.runtimes.encoders import fused_encoder
from app.runtimes.encoders.fused_encoder import FusedEncoder

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
}
FAMILIES = ("Bert", "Roberta", "XLMRoberta", "Camembert", "Electra", "Ernie")
LENGTHS = (7, 3, 12, 7, 1, 5)


def made(family: str, kind: Any = AutoModel, **config: Any) -> Any:
    torch.manual_seed(0)
    found = getattr(transformers, f"{family}Config")(
        **{**SMALL, **config}, pad_token_id=1, attn_implementation="sdpa"
    )
    return kind.from_config(found).eval().requires_grad_(False)


def asked(side: str = "right") -> dict[str, Any]:
    """Rows of LENGTHS, padded on one side."""
    torch.manual_seed(1)
    longest = max(LENGTHS)
    positions = torch.arange(longest).expand(len(LENGTHS), longest)
    lengths = torch.tensor(LENGTHS)[:, None]
    real = positions < lengths if side == "right" else positions >= longest - lengths
    ids = torch.where(real, torch.randint(5, 100, real.shape), 1)
    return {"input_ids": ids, "attention_mask": real.long()}


def answers(net: Any, given: dict[str, Any]) -> Any:
    """What it says of real tokens, or of rows."""
    with torch.inference_mode():
        found = net(**given)
    states = found.get("last_hidden_state", found.get("logits"))
    return states[given["attention_mask"].bool()] if states.ndim == 3 else states


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_as_before(family: str, side: str) -> None:
    net, given = made(family), asked(side)
    wanted = answers(net, given)
    assert fused_encoder.fuse(net)
    assert isinstance(net.encoder, FusedEncoder)
    torch.testing.assert_close(answers(net, given), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [AutoModelForSequenceClassification, AutoModelForTokenClassification])
def test_heads_get_what_they_had(kind: Any) -> None:
    net, given = made("Roberta", kind), asked()
    wanted = answers(net, given)
    assert fused_encoder.fuse(net)
    torch.testing.assert_close(answers(net, given), wanted, rtol=1e-4, atol=1e-5)


def test_a_row_says_the_same_alone_and_beside_others() -> None:
    net, given = made("Bert"), asked()
    assert fused_encoder.fuse(net)
    together = answers(net, given).split(LENGTHS)
    for row, length in enumerate(LENGTHS):
        ids = given["input_ids"][row : row + 1, :length]
        for mask in (torch.ones_like(ids), None):
            with torch.inference_mode():
                alone = net(input_ids=ids, attention_mask=mask).last_hidden_state[0]
            torch.testing.assert_close(alone, together[row], rtol=1e-4, atol=1e-5)


def test_a_row_that_is_all_padding_disturbs_nobody() -> None:
    net, given = made("Bert"), asked()
    wanted = answers(net, given)
    assert fused_encoder.fuse(net)
    given["attention_mask"][2] = 0
    kept = torch.cat([part for row, part in enumerate(wanted.split(LENGTHS)) if row != 2])
    torch.testing.assert_close(answers(net, given), kept, rtol=1e-4, atol=1e-5)


def test_half_precision_agrees_where_the_processor_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    """oneDNN packs bfloat16 only on processors with AVX-512 or AVX-NE-CONVERT; elsewhere the encoder must
    stay transformers' own, say why, and answer exactly as before."""
    net, given = made("Bert").to(torch.bfloat16), asked()
    wanted = answers(net, given).float()
    fused = fused_encoder.fuse(net)
    ours = answers(net, given).float()
    assert fused == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if fused:
        assert torch.nn.functional.cosine_similarity(ours, wanted, dim=1).min() > 0.99
    else:
        assert type(net.encoder).__name__ == "BertEncoder"
        assert torch.equal(ours, wanted)
        assert "the encoder stays transformers' own: " in capsys.readouterr().out


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "gelu_pytorch_tanh"])
def test_other_activations_are_inside_too(activation: str) -> None:
    net, given = made("Bert", hidden_act=activation), asked()
    wanted = answers(net, given)
    assert fused_encoder.fuse(net)
    torch.testing.assert_close(answers(net, given), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config", [{"hidden_act": "silu"}, {"is_decoder": True}, {"chunk_size_feed_forward": 4}]
)
def test_what_is_not_known_stays_as_it_is(config: dict[str, Any]) -> None:
    net = made("Bert", **config)
    assert not fused_encoder.fuse(net)
    assert type(net.encoder).__name__ == "BertEncoder"


def test_one_that_would_answer_otherwise_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(fused_encoder.INSIDE, "gelu", ("relu", ""))
    net = made("Bert")
    for layer in net.encoder.layer:
        layer.intermediate.dense.weight.mul_(50)
    assert not fused_encoder.fuse(net)
    assert type(net.encoder).__name__ == "BertEncoder"
    assert "the encoder stays transformers' own" in capsys.readouterr().out


def test_a_version_may_ask_for_the_librarys_own() -> None:
    spec = ModelSpec("v", "test/model", "embedding", device="cpu", config={"fused": False})
    net = made("Bert")
    assert weights.accelerate(net, spec) == {}
    assert type(net.encoder).__name__ == "BertEncoder"


def test_packed_weights_count_as_bytes() -> None:
    net = made("Bert")
    before = weights.count_bytes(net)
    assert fused_encoder.fuse(net)
    assert weights.count_bytes(net) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says what is mapped")
def test_the_pages_of_packed_weights_are_released(tmp_path: Path) -> None:
    """Those of a file; what no file holds stays as it was."""
    made("Bert", hidden_size=256, intermediate_size=512).save_pretrained(tmp_path)
    net = AutoModel.from_pretrained(tmp_path)
    weight, anonymous = net.encoder.layer[0].intermediate.dense.weight, torch.ones(512, 256)
    wanted = weight.clone()

    def resident() -> int:
        parts = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
        return sum(
            int(re.findall(r"Rss:\s+(\d+)", part)[0])
            for part in parts
            if str(tmp_path) in part.split("\n")[0]
        )

    before = resident()
    mapped_pages.release([weight, anonymous])
    assert before - resident() >= 400
    assert torch.equal(weight, wanted)
    assert torch.equal(anonymous, torch.ones(512, 256))

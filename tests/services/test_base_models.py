"""An adapter is registered together with the model that its files or its configuration name."""

import json
from pathlib import Path
from typing import Any

import pytest
from model_folders import safetensors, write_model

from app.domain.errors import InvalidRequest, NotFound
from app.runtimes import registry
from app.services.catalogue.sources import SourceReader
from app.services.catalogue.version_maker import VersionMaker
from app.services.catalogue.version_request import VersionRequest
from app.services.people.access import SCOPES, Principal

HERE = Principal(None, "", frozenset(SCOPES), is_admin=True)
GPT2 = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}
NO_HUB = "http://127.0.0.1:9"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_model(tmp_path / "base", GPT2, "transformer.wte.weight")
    return tmp_path


def write_adapter(folder: Path, base: str, **more: Any) -> str:
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, **more}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(safetensors("base_model.model.h.0.lora_A.weight"))
    return f"path:{folder}"


def specs() -> dict[str, dict[str, Any]]:
    return {each["name"]: each["spec"] for each in registry.list_all([]) if not each["error"]}


def maker(root: Path) -> VersionMaker:
    def find(principal: Principal, name: str) -> str:
        if name != "ada/base":
            raise NotFound("none")
        return f"path:{root / 'base'}"

    return VersionMaker(specs, SourceReader([root], NO_HUB, lookup_seconds=0.5), find_source=find)


def refusal(root: Path, source: str, **config: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        maker(root).make(HERE, "ada/x", VersionRequest(source, config=config))
    return refused.value.detail


@pytest.mark.parametrize("name", ["base", "{root}/base", "org/base"])
def test_the_base_that_the_files_name_is_found_under_the_roots(root: Path, name: str) -> None:
    write_model(root / "models--org--base" / "snapshots" / "c0ffee", GPT2, "transformer.wte.weight")
    (root / "models--org--base" / "refs").mkdir()
    (root / "models--org--base" / "refs" / "main").write_text("c0ffee")
    source = write_adapter(root / "lora", name.format(root=root))
    spec = maker(root).make(HERE, "ada/x", VersionRequest(source)).spec
    assert (spec.source, spec.runtime) == (source, "text-generation")
    folder = "models--org--base/snapshots/c0ffee" if name == "org/base" else "base"
    assert spec.config["base_model"] == f"path:{root / folder}"


def test_a_base_of_the_platform_is_named_by_its_name(root: Path) -> None:
    source = write_adapter(root / "lora", "somewhere/else")
    version = VersionRequest(source, config={"base_model": "ada/base"})
    spec = maker(root).make(HERE, "ada/x", version).spec
    assert spec.config == {"base_model": f"path:{root / 'base'}"}
    assert "config.base_model: must be path:FOLDER" in refusal(root, source, base_model="ada/other")


def test_a_version_is_the_content_of_both(root: Path) -> None:
    source = write_adapter(root / "lora", "base")
    marks = []
    for change in ("", "base/config.json", "lora/adapter_config.json"):
        if change:
            (root / change).write_text((root / change).read_text() + " ")
        marks.append(maker(root).make(HERE, "ada/x", VersionRequest(source)).spec.fingerprint)
    assert len(set(marks)) == 3


def test_a_lora_of_diffusers_is_merged_into_the_pipeline_that_is_named(root: Path) -> None:
    pipeline = root / "pipeline"
    (pipeline / "unet").mkdir(parents=True)
    (pipeline / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (pipeline / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(safetensors("a"))
    (root / "lora").mkdir()
    (root / "lora" / "style.safetensors").write_bytes(safetensors("unet.to_q.lora_A.weight"))
    source = f"path:{root / 'lora'}"
    assert "is an adapter of a model that its files do not name: say which (config.base_model" in refusal(
        root, source
    )
    version = VersionRequest(source, config={"base_model": f"path:{pipeline}"})
    spec = maker(root).make(HERE, "ada/x", version).spec
    assert spec.runtime == "image-generation"


def test_what_cannot_be_merged_is_one_sentence(root: Path) -> None:
    away = write_adapter(root / "away", "org/gone")
    assert "is an adapter of org/gone, which is neither under the model roots nor on the hub" in refusal(
        root, away
    )
    prompts = write_adapter(root / "prompts", "base", peft_type="PREFIX_TUNING")
    assert "is an adapter of the kind PREFIX_TUNING, which no runtime here runs" in refusal(root, prompts)
    scores = write_adapter(root / "scores", "base", task_type="SEQ_CLS")
    assert "the adapter needs a …ForSequenceClassification (SEQ_CLS)" in refusal(root, scores)
    upon = write_adapter(root / "upon", "away")
    assert "config.base_model: has no weights of its own in safetensors" in refusal(
        root, upon, base_model=f"path:{root / 'away'}"
    )
    whole = f"path:{root / 'base'}"
    assert "config.base_model: is for adapters" in refusal(root, whole, base_model=whole)
    pointer = root / "upon" / "adapter_model.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123456\n")
    assert "has adapter/adapter_model.safetensors, which is a Git LFS pointer" in refusal(
        root, f"path:{root / 'upon'}", base_model=whole
    )


def test_a_check_says_what_is_wrong_with_an_adapter(root: Path) -> None:
    scores = write_adapter(root / "scores", "base", task_type="SEQ_CLS")
    report = maker(root).check(HERE, VersionRequest(scores))
    assert [problem.field for problem in report.problems] == ["config.base_model"]
    fine = maker(root).check(HERE, VersionRequest(write_adapter(root / "lora", "base")))
    assert (fine.runtime, fine.problems) == ("text-generation", ())

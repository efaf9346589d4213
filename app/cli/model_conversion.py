"""`lovage models convert`: a folder that can be registered, made of one that cannot."""

import os
from pathlib import Path
from typing import Annotated

import typer

from app.cli import screen
from app.cli.connection import EXIT_FAILED, EXIT_USAGE, stop
from app.cli.model_versions import check_folder


def convert(
    folder: Annotated[Path, typer.Argument(help="With PyTorch weights (.bin, .pt, .pth), or an adapter.")],
    output: Annotated[Path, typer.Option(help="Where the new folder is written; must not exist.")],
    base: Annotated[Path | None, typer.Option(help="For an adapter: its base model's folder.")] = None,
) -> None:
    """Turn PyTorch weights into safetensors, or merge an adapter (LoRA) into its base. Runs no code of the
    model."""
    for each in filter(None, (folder, base)):
        if not each.is_dir():
            stop(f"{each}: is not a folder", EXIT_USAGE)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # what is not in the folders is not fetched
    from app.runtimes.conversion import convert as convert_folder

    try:
        for line in convert_folder(folder, output, base):
            print(screen.visible(line))
    except ValueError as error:
        stop(str(error), EXIT_FAILED)
    except ImportError as error:
        stop(f"needs the model libraries ({error.name}): pip install 'lovage[worker]'", EXIT_FAILED)
    report = check_folder(output)
    for problem in report.problems:
        print(screen.visible(f"still: {problem.field} {problem.description}"))
    print(f"Register it: lovage models add path:{output.resolve()}")

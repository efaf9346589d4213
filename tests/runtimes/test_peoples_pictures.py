"""Pipelines of diffusers as people have them."""

import shutil
from pathlib import Path

import numpy
import pytest
from PIL import Image
from running import jobs, load, outputs, run
from safetensors.torch import load_file, save_file

from app.domain.work import Failed
from app.runtimes.base import Runtime
from app.runtimes.demo import SHIPPED
from app.runtimes.finite import NOT_FINITE

GIVEN = {"prompt": "seven", "seed": 4, "steps": 2, "guidance": 3.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED / "digits", tmp_path / "digits"))


def test_a_folder_of_fp16_files_only_draws_the_same(digits: Runtime, folder: Path, tmp_path: Path) -> None:
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_name(f"{file.stem}.fp16.safetensors"))
    model = load("image-generation", folder, config={"dtype": "float32"})
    [[ours]] = outputs(model, [GIVEN], tmp_path / "a")
    [[theirs]] = outputs(digits, [GIVEN], tmp_path / "b")
    files = (tmp_path / "a" / "0" / ours["$file"], tmp_path / "b" / "0" / theirs["$file"])
    one, other = (numpy.asarray(Image.open(file).copy()) for file in files)
    assert numpy.array_equal(one, other)


def test_a_picture_is_what_the_library_draws(digits: Runtime, tmp_path: Path) -> None:
    import torch
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(SHIPPED / "digits", use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(4)
    size = {"width": 32, "height": 32}
    drawn = pipe("seven", num_inference_steps=2, guidance_scale=3.0, generator=[generator], **size).images[0]
    [[ours]] = outputs(digits, [GIVEN], tmp_path / "a")
    ours_drawn = Image.open(tmp_path / "a" / "0" / ours["$file"]).copy()
    difference = numpy.asarray(drawn, dtype=int) - numpy.asarray(ours_drawn, dtype=int)
    assert numpy.abs(difference).max() <= 1


def test_no_picture_is_made_of_nan(folder: Path, tmp_path: Path) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_out.bias"][:] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    model = load("image-generation", folder)
    ended, _ = run(model, jobs(model, [{**GIVEN, "num_images": 2}], tmp_path / "out"))
    assert ended["0"] == Failed(NOT_FINITE, metrics={"seed": 4})
    assert not list((tmp_path / "out").glob("**/*.png"))

"""Pipelines of diffusers as people have them."""

import shutil
from pathlib import Path
from typing import Any

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


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A LoRA of the digits' network, as diffusers' trainings save it."""
    import peft
    import torch
    from diffusers import DiffusionPipeline, StableDiffusionPipeline
    from diffusers.utils import convert_state_dict_to_diffusers

    torch.manual_seed(5)
    unet = DiffusionPipeline.from_pretrained(SHIPPED / "digits", use_safetensors=True).unet
    layers = ["to_q", "to_k", "to_v", "to_out.0"]
    unet.add_adapter(peft.LoraConfig(r=4, lora_alpha=32, target_modules=layers, init_lora_weights=False))
    weights = convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", unet_lora_layers=weights)
    return tmp_path / "lora"


def test_a_lora_draws_what_the_library_draws_with_it(digits: Runtime, lora: Path, tmp_path: Path) -> None:
    import torch
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(SHIPPED / "digits", use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(lora)
    generator = torch.Generator().manual_seed(4)
    size = {"width": 32, "height": 32}
    picture = pipe("seven", num_inference_steps=2, guidance_scale=3.0, generator=[generator], **size).images[
        0
    ]
    model = load("image-generation", SHIPPED / "digits", adapter=str(lora))
    ours, plain = (
        drawn(tmp_path / name / "0", outputs(each, [GIVEN], tmp_path / name)[0])
        for name, each in (("a", model), ("b", digits))
    )
    assert numpy.abs(numpy.asarray(picture, dtype=int) - ours).max() <= 1
    assert numpy.abs(plain - ours).max() > 8


def test_a_lora_of_another_pipeline_is_refused(lora: Path) -> None:
    file = lora / "pytorch_lora_weights.safetensors"
    save_file({f"x{name}": each for name, each in load_file(file).items()}, file)
    with pytest.raises(ValueError, match="the adapter does not fit this base"):
        load("image-generation", SHIPPED / "digits", adapter=str(lora))


def test_no_picture_is_made_of_nan(folder: Path, tmp_path: Path) -> None:
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_out.bias"][:] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    model = load("image-generation", folder)
    ended, _ = run(model, jobs(model, [{**GIVEN, "num_images": 2}], tmp_path / "out"))
    assert ended["0"] == Failed(NOT_FINITE, metrics={"seed": 4})
    assert not list((tmp_path / "out").glob("**/*.png"))


def given_picture(folder: Path) -> dict[str, str]:
    """A picture of 32 by 32, and a mask of its left half, in two forms."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = numpy.random.default_rng(3).integers(0, 255, (32, 32, 3), dtype="uint8")
    Image.fromarray(pixels).save(folder / "image.png")
    white = numpy.zeros((32, 32), dtype="uint8")
    white[:, :16] = 255
    Image.fromarray(white).save(folder / "mask.png")
    holed = numpy.dstack([pixels, 255 - white])
    Image.fromarray(holed, "RGBA").save(folder / "hole.png")
    return {name: str(folder / f"{name}.png") for name in ("image", "mask", "hole")}


def drawn(folder: Path, output: Any) -> Any:
    return numpy.asarray(Image.open(folder / output[0]["$file"]).copy(), dtype=int)


@pytest.fixture(scope="module")
def painter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline like that of the digits, with as many numbers a place as Stable Diffusion has."""
    import diffusers
    import torch

    folder = Path(shutil.copytree(SHIPPED / "digits", tmp_path_factory.mktemp("painter") / "m"))
    torch.manual_seed(1)
    for part, kind, channels in (
        ("unet", diffusers.UNet2DConditionModel, {"in_channels": 4, "out_channels": 4}),
        ("vae", diffusers.AutoencoderKL, {"latent_channels": 4}),
    ):
        config = kind.load_config(folder / part)
        kind.from_config({**config, **channels}).save_pretrained(folder / part)
    return folder


@pytest.fixture(scope="module")
def paints(painter: Path) -> Runtime:
    return load("image-generation", painter, config={"dtype": "float32"})


@pytest.mark.parametrize("kind", ["StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline"])
def test_a_picture_goes_on_from_another_as_the_library_does(
    painter: Path, paints: Runtime, tmp_path: Path, kind: str
) -> None:
    import diffusers
    import torch

    files = given_picture(tmp_path / "in")
    asked = {**GIVEN, "steps": 4, "strength": 0.5, "image": files["image"]}
    more = {}
    if kind.endswith("InpaintPipeline"):
        asked["mask"] = files["mask"]
        more = {"mask_image": [Image.open(files["mask"])], "width": 32, "height": 32}
    pipe = getattr(diffusers, kind).from_pretrained(painter, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        ["seven"],
        image=[Image.open(files["image"])],
        strength=0.5,
        num_inference_steps=4,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(4)],
        **more,
    ).images[0]
    neighbours = [{**asked, "seed": 5}, asked, {**GIVEN, "steps": 4}]
    ended: dict[str, Any] = {}
    batch = jobs(paints, neighbours, tmp_path / "out")
    for key in dict.fromkeys(job.batch_key for job in batch):
        ended |= run(paints, [job for job in batch if job.batch_key == key])[0]
    ours = drawn(tmp_path / "out" / "1", ended["1"].output)
    assert numpy.abs(ours - numpy.asarray(theirs, dtype=int)).max() <= 1
    others = [drawn(tmp_path / "out" / name, ended[name].output) for name in "02"]
    assert all(numpy.abs(ours - other).max() > 1 for other in others)


def test_a_hole_in_the_mask_is_what_its_white_is(paints: Runtime, tmp_path: Path) -> None:
    files = given_picture(tmp_path / "in")
    asked = {**GIVEN, "image": files["image"]}
    masks = [{**asked, "mask": files[name]} for name in ("mask", "hole")]
    first, second = outputs(paints, masks, tmp_path / "out")
    drawn_first, drawn_second = drawn(tmp_path / "out" / "0", first), drawn(tmp_path / "out" / "1", second)
    assert numpy.array_equal(drawn_first, drawn_second)


def test_pictures_that_cannot_be_gone_on_from_are_refused_by_name(digits: Runtime, tmp_path: Path) -> None:
    files = given_picture(tmp_path / "in")
    Image.new("RGB", (2, 40)).save(tmp_path / "thin.png")
    for asked, words in (
        ({"mask": files["mask"]}, "mask: needs `image`"),
        (
            {"mask": files["mask"], "image": files["image"]},
            "mask: this model, a StableDiffusionPipeline, takes",
        ),
        ({"image": files["image"], "strength": 0.1}, "strength: of 2 steps it leaves none"),
        ({"image": str(tmp_path / "thin.png")}, "image: has 2 x 40 pixels: give `width` and `height`"),
    ):
        with pytest.raises(ValueError, match=words):
            jobs(digits, [{**GIVEN, **asked}], tmp_path / "out")


def test_a_folder_that_paints_anew_asks_for_picture_and_mask(painter: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(painter, tmp_path / "m"))
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"))
    model = load("image-generation", folder)
    files = given_picture(tmp_path / "in")
    for asked in ({}, {"image": files["image"]}):
        with pytest.raises(ValueError, match="give `image` and `mask`"):
            jobs(model, [{**GIVEN, **asked}], tmp_path / "out")
    assert outputs(model, [{**GIVEN, "image": files["image"], "mask": files["mask"]}], tmp_path / "painted")

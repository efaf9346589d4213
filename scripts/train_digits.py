"""Trains and checks the demo model `demo/digits`: a picture of a digit from its name.

A Stable-Diffusion pipeline of toy size (CLIP text encoder, KL autoencoder, UNet, DDIM) learns scikit-learn's
bundled 8x8 digits, enlarged to 32x32. What is saved is an ordinary diffusers folder that needs no code of
ours to load. It does not know Lovage: no runtime, storage or API, and it never reaches the network.

    python scripts/train_digits.py            train, save, then check (see the card for how long that took)
    python scripts/train_digits.py --check    only check: a confusion table and the count read correctly
"""

from __future__ import annotations

import argparse
import copy
import random
import string
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from scipy.ndimage import affine_transform, zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

FOLDER = Path(__file__).resolve().parent.parent / "demo_models" / "digits"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FILLERS = """
a an the digit number numeral figure picture image photo drawing sketch of in please draw paint write me make
show handwritten written hand single white black big small large bold neat nice good clear on background
and with style to just is this that it my your some
"""
SIDE = 32  # pixels: 4 times the originals', and the multiple of 8 that StableDiffusionPipeline demands
TOKENS = 32  # longest prompt: unknown words cost a token a letter
STEPS, GUIDANCE = 20, 3.0  # recommended, and what --check measures
LIMIT_BYTES = 5_000_000
WORDS = tuple(FILLERS.split())
Array: TypeAlias = npt.NDArray[Any]


@dataclass(frozen=True)
class Plan:
    """How long to train; the defaults are the shipped model's."""

    vae_steps: int
    steps: int
    batch: int
    seed: int


def split_digits() -> tuple[Array, Array, Array, Array]:
    """Returns (train images, train labels, test images, test labels): 8x8, ink 0..1, four fifths to train."""
    data = load_digits()
    parts = train_test_split(
        data.images / 16.0, data.target, test_size=0.2, random_state=0, stratify=data.target
    )
    return parts[0], parts[2], parts[1], parts[3]


def render(image: Array) -> Array:
    """Enlarges one 8x8 digit to 32x32, ink 0..1: a cubic spline, then contrast, so that strokes look
    drawn."""
    large = zoom(image, SIDE / 8, order=3, mode="grid-constant", grid_mode=True)
    clear: Array = np.clip((large - 0.12) / 0.76, 0.0, 1.0)
    return clear


def jitter(image: Array, rng: np.random.Generator) -> Array:
    """Turns, scales and shifts a rendered digit a little: a sixth of a source pixel, seven degrees."""
    angle, scale = np.deg2rad(rng.uniform(-7, 7)), rng.uniform(0.94, 1.06, size=2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    centre = np.full(2, (SIDE - 1) / 2)
    moved: Array = affine_transform(
        image, turn, centre - turn @ centre + rng.uniform(-0.7, 0.7, size=2), order=1
    )
    return moved


def training_set(seed: int, variants: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns (pictures in -1..1 of shape (n, 3, 32, 32), labels): each digit as drawn, and jittered."""
    images, labels, _, _ = split_digits()
    rng = np.random.default_rng(seed)
    drawn = [render(image) for image in images]
    every = drawn + [jitter(image, rng) for _ in range(variants - 1) for image in drawn]
    pictures = torch.tensor(np.clip(np.stack(every), 0, 1), dtype=torch.float32)[:, None].repeat(1, 3, 1, 1)
    return pictures * 2 - 1, torch.tensor(labels).repeat(variants)


def build_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer in which each word of ours is one token and any other text falls apart into bytes."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = list(bytes_to_unicode().values())
    merges: list[tuple[str, str]] = []
    for word in (*NAMES, *WORDS):
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            if (pieces[0], pieces[1]) not in merges:
                merges.append((pieces[0], pieces[1]))
            pieces = [pieces[0] + pieces[1], *pieces[2:]]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocab = {
        token: index
        for index, token in enumerate([*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"])
    }
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TOKENS)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=64,
            max_position_embeddings=TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def build_vae() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 16, 32, 32),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=4,
        sample_size=SIDE,
        mid_block_add_attention=False,
    )


def build_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(64, 64),
        layers_per_block=1,
        cross_attention_dim=64,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=16,
    )


def build_scheduler() -> DDIMScheduler:
    """Linear betas end in pure noise, where v-prediction is still defined, so sampling starts at the very
    end."""
    return DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
    )


def noise_word(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 7)))


def prompt_for(label: int, rng: random.Random) -> str:
    """A prompt that names the digit somewhere, or (one in eight) says nothing, for classifier-free guidance.

    A third of the silent prompts are made-up words, so that an unknown word means "any digit" and not noise.
    """
    if rng.random() < 0.125:
        return noise_word(rng) if rng.random() < 0.33 else ""
    name = NAMES[label] if rng.random() < 0.75 else str(label)
    if rng.random() < 0.3:
        return name
    around = [noise_word(rng) if rng.random() < 0.1 else rng.choice(WORDS) for _ in range(rng.randint(1, 7))]
    around.insert(rng.randint(min(1, len(around)), len(around)) if rng.random() < 0.8 else 0, name)
    return " ".join(around)


def train_vae(vae: AutoencoderKL, pictures: torch.Tensor, plan: Plan) -> None:
    """Fits the autoencoder by squared error and a faint pull of the latents to a standard normal."""
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=plan.vae_steps, pct_start=0.1)
    for _ in range(plan.vae_steps):
        real = pictures[torch.randint(len(pictures), (64,))]
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(real).latent_dist
            made = vae.decode(posterior.sample()).sample
        loss = mse_loss(made.float(), real) + 1e-4 * posterior.kl().float().mean() / posterior.mean[0].numel()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def encode(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """Encodes every picture to its mean latent, and records the factor that gives them unit variance."""
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in pictures.split(256)])
    vae.register_to_config(scaling_factor=round(1.0 / latents.std().item(), 5))
    return latents * vae.config.scaling_factor


class Average:
    """The running mean of a module's weights; what is shipped, since single steps are noisy."""

    def __init__(self, module: torch.nn.Module, decay: float = 0.999) -> None:
        self.mean, self.decay = copy.deepcopy(module).requires_grad_(False), decay

    def update(self, module: torch.nn.Module) -> None:
        for mean, now in zip(self.mean.parameters(), module.parameters(), strict=True):
            mean.lerp_(now.detach(), 1 - self.decay)


def train_diffusion(
    pipe: StableDiffusionPipeline, latents: torch.Tensor, labels: torch.Tensor, plan: Plan
) -> None:
    """Trains UNet and text encoder together to predict v; leaves their averaged weights in the pipeline."""
    both = torch.nn.ModuleList([pipe.unet, pipe.text_encoder]).train()
    average, rng = Average(both), random.Random(plan.seed)
    optimizer = torch.optim.AdamW(both.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=plan.steps, pct_start=0.05)
    started, running = time.monotonic(), 0.0
    for step in range(1, plan.steps + 1):
        chosen = torch.randint(len(latents), (plan.batch,))
        loss = diffusion_loss(pipe, latents[chosen], [prompt_for(int(labels[i]), rng) for i in chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update(both)
        running += loss.item()
        if step % 500 == 0:
            print(
                f"step {step}/{plan.steps} loss {running / 500:.4f} {time.monotonic() - started:.0f} s",
                flush=True,
            )
            running = 0.0
    pipe.unet.load_state_dict(average.mean[0].state_dict())
    pipe.text_encoder.load_state_dict(average.mean[1].state_dict())


def diffusion_loss(pipe: StableDiffusionPipeline, clean: torch.Tensor, prompts: list[str]) -> torch.Tensor:
    """Mean squared error of v (Salimans and Ho, 2022: v = sqrt(a) noise - sqrt(1-a) clean) at random
    times."""
    ids = pipe.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    noise = torch.randn_like(clean)
    when = torch.randint(pipe.scheduler.config.num_train_timesteps, (len(clean),))
    noisy = pipe.scheduler.add_noise(clean, noise, when)
    guess = pipe.unet(noisy, when, pipe.text_encoder(ids).last_hidden_state).sample
    return mse_loss(guess, pipe.scheduler.get_velocity(clean, noise, when))


def train(plan: Plan) -> StableDiffusionPipeline:
    torch.manual_seed(plan.seed)
    pictures, labels = training_set(plan.seed)
    tokenizer, vae = build_tokenizer(), build_vae()
    started = time.monotonic()
    train_vae(vae, pictures, plan)
    latents = encode(vae, pictures)
    print(
        f"autoencoder: {time.monotonic() - started:.0f} s, scaling factor {vae.config.scaling_factor}",
        flush=True,
    )
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=build_unet(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    train_diffusion(pipe, latents, labels, plan)
    return pipe


def save(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """Writes UNet and autoencoder as float16 (diffusers loads them as float32 unless told otherwise).

    The text encoder stays float32: transformers would load a float16 file as float16, and the two would not
    mix.
    """
    pipe.unet.half()
    pipe.vae.half()
    pipe.save_pretrained(folder, safe_serialization=True)
    pipe.unet.float()
    pipe.vae.float()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"saved {size:,} bytes")
    if size > LIMIT_BYTES:
        raise SystemExit(f"the folder holds {size:,} bytes, more than the {LIMIT_BYTES:,} it may")


def generate(
    pipe: Any, prompts: list[str], seeds: list[int], steps: int, guidance: float
) -> list[Image.Image]:
    """One picture for each prompt; its seed alone decides it, whatever shares the batch."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    made = pipe(prompts, num_inference_steps=steps, guidance_scale=guidance, generator=generators)
    return list(made.images)


def shrink(image: Image.Image) -> Array:
    """Back to what the classifier knows: 64 grey values 0..1, white being ink."""
    small: Array = np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=np.float64)
    return small.ravel() / 255.0


def check(folder: Path, steps: int, guidance: float, grid: Path | None) -> int:
    """Prints how an SVC trained on the real digits reads ten pictures of each name; returns the count it got
    right."""
    images, labels, held_out, answers = split_digits()
    reader = SVC(C=10, gamma=0.1).fit(images.reshape(len(images), -1), labels)
    real = [Image.fromarray((render(image) * 255).round().astype(np.uint8)) for image in held_out]
    score = reader.score(np.stack([shrink(image) for image in real]), answers)
    print(f"the reader gets {score:.1%} of the held-out real digits, enlarged the same way")
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    table: Array = np.zeros((10, 10), dtype=int)
    rows: list[Array] = []
    for digit, name in enumerate(NAMES):
        pictures = generate(pipe, [name] * 10, list(range(10)), steps, guidance)
        rows.append(np.hstack([np.asarray(picture.convert("L")) for picture in pictures]))
        for read in reader.predict(np.stack([shrink(picture) for picture in pictures])):
            table[digit, read] += 1
    print("asked \\ read " + " ".join(f"{digit:3d}" for digit in range(10)))
    for name, row in zip(NAMES, table, strict=True):
        print(f"{name:>12} " + " ".join(f"{count or '.':>3}" for count in row))
    right = int(np.trace(table))
    print(f"{right} of 100 read correctly ({steps} steps, guidance {guidance:g})")
    if grid is not None:
        Image.fromarray(np.vstack(rows)).save(grid)
    return right


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train or check the demo model demo/digits.")
    parser.add_argument("--check", action="store_true", help="only check the saved model")
    parser.add_argument("--out", type=Path, default=FOLDER, help="model folder (default: demo_models/digits)")
    parser.add_argument("--steps", type=int, default=4000, help="diffusion training steps")
    parser.add_argument("--vae-steps", type=int, default=1500, help="autoencoder training steps")
    parser.add_argument("--batch", type=int, default=128, help="pictures a diffusion step")
    parser.add_argument("--seed", type=int, default=7, help="seed of everything random")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--sample-steps", type=int, default=STEPS, help="denoising steps in the check")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help="guidance scale in the check")
    parser.add_argument("--grid", type=Path, help="write the check's hundred pictures to this PNG")
    parser.add_argument("--pass-mark", type=int, default=95, help="exit with 1 below this count")
    return parser.parse_args()


def main() -> int:
    options = parse()
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    if not options.check:
        save(train(Plan(options.vae_steps, options.steps, options.batch, options.seed)), options.out)
    return int(check(options.out, options.sample_steps, options.guidance, options.grid) < options.pass_mark)


if __name__ == "__main__":
    raise SystemExit(main())

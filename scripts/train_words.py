"""Trains and checks the demo model `demo/words`: a small GPT-2 that writes in the manner of two old books.

It reads the public-domain texts under scripts/data/, makes its own byte-level BPE tokenizer (with a
plain-text chat template), trains a GPT-2 from nothing and saves an ordinary transformers folder that needs
no code of ours to load. It does not know Lovage: no runtime, storage or API, and it never reaches the
network.

    python scripts/train_words.py            train, save, then check (see the card for how long that took)
    python scripts/train_words.py --check    only check: held-out loss, how many words are words, samples
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parent
FOLDER = ROOT.parent / "demo_models" / "words"
# How often an epoch reads each book: the short one is the simpler English, so it is read more.
BOOKS = {"alice.txt.gz": 3, "moby_dick.txt.gz": 1}
VOCABULARY, CONTEXT = 4096, 512
EOS, PAD = "<|endoftext|>", "<|pad|>"
LIMIT_BYTES = 5_000_000
# Plain text, so that it reads the same in a log. The model never saw a "system" line that meant anything.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['content'] is string -%}{%- set text = message['content'] -%}
{%- else -%}
{%- set text = message['content'] | selectattr('text', 'defined') | map(attribute='text') | join(' ') -%}
{%- endif -%}
{{- message['role'] + ': ' + (text | trim) -}}
{{- (eos_token if message['role'] == 'assistant' else '') + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'assistant:' -}}{%- endif -%}
"""
# Measured: at temperature 0.8 and top_p 0.95, 2.1 % of the words come out made up; so, 1.3 %; below 0.6 it
# repeats itself. A repetition penalty makes it worse: it forbids the commas and the word ends of which words
# are made.
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 50}
PROMPTS = ("The captain", "Alice looked at", "Once upon a time", "In the morning the sea", "'Why,' said the")


@dataclass(frozen=True)
class Plan:
    """How long to train; the defaults are the shipped model's."""

    epochs: float
    batch: int
    seed: int


def read_chapters(name: str) -> list[str]:
    """Splits a book into chapters, and joins the wrapped lines of prose; verse (short lines) keeps its
    lines."""
    text = gzip.decompress((ROOT / "data" / name).read_bytes()).decode("utf-8").replace("--", "—")
    chapters = re.split(r"\n\n(?=(?:Chapter \w+|Epilogue)\.)", text.strip())
    return ["\n\n".join(unwrap(part) for part in chapter.split("\n\n")) for chapter in chapters]


def unwrap(paragraph: str) -> str:
    lines = paragraph.split("\n")
    return paragraph if len(lines) > 1 and max(map(len, lines)) < 70 else " ".join(lines)


def split_books() -> tuple[dict[str, list[str]], list[str]]:
    """Returns (chapters to learn from, by book; every twenty-fifth chapter, which is only measured on)."""
    learn: dict[str, list[str]] = {}
    held_out: list[str] = []
    for name in BOOKS:
        chapters = read_chapters(name)
        learn[name] = [chapter for index, chapter in enumerate(chapters) if index % 25 != 10]
        held_out += chapters[10::25]
    return learn, held_out


def build_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[EOS, PAD], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator([*texts, "user: assistant: system: " * 500], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=EOS,
        bos_token=EOS,
        pad_token=PAD,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=CONTEXT,
            n_embd=176,
            n_layer=4,
            n_head=4,
            activation_function="gelu_pytorch_tanh",  # as GPT-2's own, but one fused kernel
            resid_pdrop=0.1,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def dialogues(chapter: str, rng: random.Random) -> str:
    """Retells a chapter as chats: some sentences are the user's, those that follow them the assistant's
    answer."""
    sentences = re.split(r"(?<=[.!?]['\"]) +|(?<=[.!?]) +|\n\n", chapter)
    lines: list[str] = []
    position = 0
    while position < len(sentences) - 2:
        for _ in range(rng.choice((1, 1, 2))):
            asked, told = rng.choice((1, 1, 2)), rng.randint(1, 4)
            question = " ".join(sentences[position : position + asked])
            answer = " ".join(sentences[position + asked : position + asked + told])
            lines.append(f"user: {question}\nassistant: {answer}{EOS}\n")
            position += asked + told
    return "".join(lines)


def read_epoch(learn: dict[str, list[str]], tokenizer: Any, rng: random.Random) -> torch.Tensor:
    """One shuffled reading of the books as a line of token ids; a fifth of the chapters come as chats."""
    chapters = [chapter for name, times in BOOKS.items() for chapter in learn[name] * times]
    rng.shuffle(chapters)
    told = (dialogues(chapter, rng) if rng.random() < 0.2 else chapter + EOS for chapter in chapters)
    return torch.tensor([token for text in told for token in tokenizer(text).input_ids])


def batches(learn: dict[str, list[str]], tokenizer: Any, plan: Plan) -> Iterator[torch.Tensor]:
    """Yields (batch, CONTEXT) windows for ever, cut at another offset in each epoch."""
    rng = random.Random(plan.seed)
    while True:
        ids = read_epoch(learn, tokenizer, rng)
        ids = ids[rng.randrange(CONTEXT) :]
        windows = ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT)
        windows = windows[torch.randperm(len(windows))]
        yield from windows[: len(windows) // plan.batch * plan.batch].split(plan.batch)


def bits_per_character(model: GPT2LMHeadModel, tokenizer: Any, texts: list[str]) -> float:
    """Mean bits that the model needs for a character of these texts, in windows of CONTEXT tokens; lower is
    better."""
    model.eval()
    total, characters = 0.0, 0
    for text in texts:
        ids = torch.tensor(tokenizer(text).input_ids)
        for window in ids[: len(ids) // CONTEXT * CONTEXT].view(-1, CONTEXT):
            with torch.no_grad():
                total += model(window[None], labels=window[None]).loss.item() * (CONTEXT - 1)
            characters += len(tokenizer.decode(window[1:]))
    model.train()
    return total / math.log(2) / characters


def optimizer_for(model: GPT2LMHeadModel, steps: int) -> tuple[torch.optim.Optimizer, Any]:
    """AdamW that decays matrices only, and a warm-up to a cosine."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.98), fused=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.05)


def train(plan: Plan) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast]:
    torch.manual_seed(plan.seed)
    learn, held_out = split_books()
    tokenizer = build_tokenizer([chapter for chapters in learn.values() for chapter in chapters])
    model = build_model(tokenizer).train()
    tokens = len(read_epoch(learn, tokenizer, random.Random(0)))
    steps = int(plan.epochs * tokens / CONTEXT / plan.batch)
    optimizer, schedule = optimizer_for(model, steps)
    started, running = time.monotonic(), 0.0
    for step, batch in zip(range(1, steps + 1), batches(learn, tokenizer, plan), strict=False):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += loss.item()
        if step % 100 == 0 or step == steps:
            bits = bits_per_character(model, tokenizer, held_out)
            print(
                f"step {step}/{steps} loss {running / 100:.3f} held out {bits:.3f} bits a character "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
            running = 0.0
    return model.eval(), tokenizer


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Stores the weights as float16, with a config that has them loaded as float32 (float16 is slow on a
    CPU)."""
    for name, value in SAMPLING.items():
        setattr(model.generation_config, name, value)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file({name: weight.half() for name, weight in load_file(weights).items()}, weights, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"saved {size:,} bytes")
    if size > LIMIT_BYTES:
        raise SystemExit(f"the folder holds {size:,} bytes, more than the {LIMIT_BYTES:,} it may")


def write(model: Any, tokenizer: Any, prompt: str, seed: int, tokens: int = 100) -> str:
    """Continues the prompt with the folder's own sampling settings; returns what was added."""
    torch.manual_seed(seed)
    ids = tokenizer(prompt, return_tensors="pt")
    made = model.generate(**ids, max_new_tokens=tokens)
    return str(tokenizer.decode(made[0, ids.input_ids.shape[1] :], skip_special_tokens=True))


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def copied(texts: list[str], books: list[str], length: int = 8) -> float:
    """The share of runs of `length` words that stand in the books as they are: learnt by heart, not
    written."""
    known = {
        tuple(words[i : i + length])
        for book in books
        for words in [words_of(book)]
        for i in range(len(words))
    }
    runs = [
        tuple(words[i : i + length]) for words in map(words_of, texts) for i in range(len(words) - length + 1)
    ]
    return sum(run in known for run in runs) / max(1, len(runs))


def check(folder: Path, pass_mark: float) -> int:
    """Prints the measures and some samples; returns 1 if too few of the written words are words of the
    books."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    learn, held_out = split_books()
    books = [chapter for chapters in learn.values() for chapter in chapters]
    print(f"held-out chapters: {bits_per_character(model.eval(), tokenizer, held_out):.3f} bits a character")
    model.eval()
    texts = [write(model, tokenizer, prompt, seed) for prompt in PROMPTS for seed in range(4)]
    vocabulary = {word for book in (*books, *held_out) for word in words_of(book)}
    # The first and last word of a text may be cut off, by the prompt or by the token limit.
    written = [word for text in texts for word in words_of(text)[1:-1]]
    share = sum(word in vocabulary for word in written) / len(written)
    print(f"{share:.1%} of {len(written)} written words are words of the books")
    print(f"{copied(texts, books):.1%} of the runs of eight words are copied from them")
    for index, prompt in enumerate(PROMPTS):
        print(f"\n[{prompt}]{texts[index * 4]}")
    for question in ("Where is the white whale?", "Tell me about the Queen of Hearts."):
        messages = [{"role": "user", "content": question}]
        chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        print(f"\n[{chat}]{write(model, tokenizer, chat, 1)}")
    return int(share < pass_mark)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train or check the demo model demo/words.")
    parser.add_argument("--check", action="store_true", help="only check the saved model")
    parser.add_argument("--out", type=Path, default=FOLDER, help="model folder (default: demo_models/words)")
    parser.add_argument("--epochs", type=float, default=24, help="readings of the books")
    parser.add_argument("--batch", type=int, default=8, help="windows of 512 tokens a step")
    parser.add_argument("--seed", type=int, default=7, help="seed of everything random")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--pass-mark", type=float, default=0.95, help="exit with 1 below this share of known words"
    )
    return parser.parse_args()


def main() -> int:
    options = parse()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    if not options.check:
        save(*train(Plan(options.epochs, options.batch, options.seed)), options.out)
    return check(options.out, options.pass_mark)


if __name__ == "__main__":
    raise SystemExit(main())

"""A text with a hole in it, as models of code were trained to fill one in: by special tokens that say what is
before it and what behind. Pure."""

from collections.abc import Collection

# The tokens before the beginning, before the end and before the middle, by families: Qwen Coder, CodeGemma;
# StarCoder, Granite; DeepSeek Coder, whose marks stand around the hole.
MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)


def text_with_hole(prompt: str, suffix: str, tokens: Collection[str]) -> str:
    """The prompt of a model with these tokens. Raises ValueError when it has none for that."""
    for before, behind, middle in MARKS:
        if {before, behind, middle} <= set(tokens):
            return f"{before}{prompt}{behind}{suffix}{middle}"
    raise ValueError("suffix: this model has no tokens to fill a text in with")

"""A key-value cache of slots: every running request has a row of its own and its own length; rows come and
go between steps.

Nothing is padded on the left and nothing is concatenated: a step writes each row's new entry at that row's
end, in place, and a mask hides what lies behind it. A prompt is read by the model with its ordinary cache and
then moved into a row; a row that leaves is replaced by the last one. Knows transformers' cache interface;
nothing of requests.

It serves models whose layers all attend to all, or to a window of, earlier tokens.
`CachedModel.supports_slots` finds out by trying.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache

from app.runtimes.text.prefix_cache import Beginning, PrefixCache, turns_by_length
from app.runtimes.text.prompt_pictures import PromptPictures

# Buffers are enlarged by whole blocks of this many tokens, and by half of what there is, so that it is rare.
BLOCK = 64


class SlotCache(Cache):  # type: ignore[misc]
    """`lengths[n]` tokens of row n are valid."""

    def __init__(self, window: int = 0) -> None:
        super().__init__(layers=[])
        self.lengths: list[int] = []
        self._window = window
        self._keys: list[Any] = []
        self._values: list[Any] = []
        self._rows: Any = None
        self._ends: Any = None

    def append(self, read: Any, lengths: Sequence[int]) -> None:
        """Moves the rows of `read`, an ordinary cache of right-padded prompts of these lengths, behind the
        rows that are here."""
        start, end = len(self.lengths), len(self.lengths) + len(lengths)
        if not self._keys:
            self._keys = [layer.keys[:0, :, :0] for layer in read.layers]
            self._values = [layer.values[:0, :, :0] for layer in read.layers]
        longest = max(lengths)
        self._reserve(end, longest + 1)
        for layer, keys, values in zip(read.layers, self._keys, self._values, strict=True):
            keys[start:end, :, :longest] = layer.keys
            values[start:end, :, :longest] = layer.values
        self.lengths += lengths

    def remove(self, row: int) -> None:
        """Frees a row; the last row takes its number."""
        last = len(self.lengths) - 1
        if row != last:
            self.lengths[row] = length = self.lengths[last]
            with torch.inference_mode():  # what was made in this mode can be written in this mode only
                for states in (*self._keys, *self._values):
                    states[row, :, :length] = states[last, :, :length]
        self.lengths.pop()

    def begin_step(self, dtype: Any) -> tuple[Any, dict[str, Any]]:
        """Before a step of one token for every row: (position ids, masks by the kind of attention)."""
        longest = max(self.lengths) + 1
        self._reserve(len(self.lengths), longest)
        device = self._keys[0].device
        self._rows = torch.arange(len(self.lengths), device=device)
        self._ends = torch.tensor(self.lengths, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        positions, ends = torch.arange(longest, device=device), self._ends[:, None]
        hidden = {"full_attention": positions > ends}
        if self._window:
            hidden["sliding_attention"] = hidden["full_attention"] | (positions <= ends - self._window)
        blank, least = torch.zeros((), dtype=dtype, device=device), torch.finfo(dtype).min
        masks = {kind: blank.expand(where.shape).masked_fill(where, least) for kind, where in hidden.items()}
        return ends, {kind: mask[:, None, None, :] for kind, mask in masks.items()}

    def update(
        self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **more: Any
    ) -> tuple[Any, Any]:
        """Called by each attention layer with its new states, (rows, heads, 1, size)."""
        longest, count = max(self.lengths), len(self.lengths)
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        keys[self._rows, :, self._ends] = key_states[:, :, 0]
        values[self._rows, :, self._ends] = value_states[:, :, 0]
        return keys[:count, :, :longest], values[:count, :, :longest]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return max(self.lengths, default=0)

    def _reserve(self, rows: int, tokens: int) -> None:
        """Makes the buffers large enough; what they hold stays."""
        have_rows, _, have_tokens, _ = self._keys[0].shape
        if rows <= have_rows and tokens <= have_tokens:
            return
        if rows > have_rows:
            rows = max(rows, have_rows * 2)
        if tokens > have_tokens:
            tokens = -(-max(tokens, have_tokens * 3 // 2) // BLOCK) * BLOCK
        rows, tokens = max(rows, have_rows), max(tokens, have_tokens)
        self._keys = [_larger(states, rows, tokens) for states in self._keys]
        self._values = [_larger(states, rows, tokens) for states in self._values]


def _are_alike(first: Beginning | None, second: Beginning | None) -> bool:
    if first is None or second is None:
        return first is second
    return first.length == second.length and first.states is second.states


def _larger(states: Any, rows: int, tokens: int) -> Any:
    """Zeros behind the old content: what a mask hides must still be a number."""
    new = states.new_zeros((rows, states.shape[1], tokens, states.shape[3]))
    new[: states.shape[0], :, : states.shape[2]] = states
    return new


class CachedModel:
    """The model's forward passes over a SlotCache, in inference mode. `prefix_bytes`: of what is kept of
    prompts that were read (prefix_cache.py). `cached`: how many tokens of each of the prompts that were read
    last were kept."""

    def __init__(self, net: Any, device: str, prefix_bytes: int = 0) -> None:
        self._net, self._device = net, device
        config = net.config.get_text_config(decoder=True)
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None) or 0
        self._by_kind = "sliding_attention" in kinds
        self._window = window if self._by_kind or not kinds else 0
        self._vocabulary = config.vocab_size
        self._prefixes = PrefixCache(0 if turns_by_length(config) else prefix_bytes)
        self.cached: list[int] = []

    def new_cache(self) -> SlotCache:
        return SlotCache(self._window)

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def prefill(
        self, cache: SlotCache, prompts: Sequence[Sequence[int]], pictures: PromptPictures | None = None
    ) -> Any:
        """Puts the prompts into new rows; the logits (rows, vocabulary) of their last tokens. `pictures`: of
        one prompt, which is alone then, and of which nothing is kept."""
        self.cached = [0] * len(prompts)
        if pictures:
            return self._read(cache, prompts, None, pictures)
        beginnings = [self._prefixes.find(prompt) for prompt in prompts]
        self.cached = [each.length if each else 0 for each in beginnings]
        logits, first = [], 0
        for at in range(1, len(prompts) + 1):  # those that begin alike are read together
            if at == len(prompts) or not _are_alike(beginnings[first], beginnings[at]):
                logits.append(self._read(cache, prompts[first:at], beginnings[first]))
                first = at
        return torch.cat(logits)

    def _read(
        self,
        cache: SlotCache,
        prompts: Sequence[Sequence[int]],
        beginning: Beginning | None,
        pictures: PromptPictures | None = None,
    ) -> Any:
        """As `prefill`, of prompts that begin with the same kept tokens.

        They are padded on the right, where the causal mask keeps it from every real token, so no mask is
        needed.
        """
        own, start = DynamicCache(), beginning.length if beginning else 0
        if beginning:
            beginning.fill(own, len(prompts))
        lengths = [len(prompt) - start for prompt in prompts]
        longest = max(lengths)
        ids = [[*prompt[start:], *[0] * (longest - len(prompt) + start)] for prompt in prompts]
        last = torch.tensor([[length - 1] for length in lengths], device=self._device)
        out = self._net(
            input_ids=torch.tensor(ids, device=self._device),
            past_key_values=own,
            use_cache=True,
            logits_to_keep=last,
            **self._seen(pictures, longest),
        )
        cache.append(own, [len(prompt) for prompt in prompts])
        for row, prompt in enumerate(() if pictures else prompts):
            self._prefixes.keep(prompt, own.layers, row)
        return out.logits[:, 0]

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def decode(self, cache: SlotCache, tokens: Sequence[int]) -> Any:
        """One token for every row; the logits that follow, (rows, vocabulary)."""
        positions, masks = cache.begin_step(self._net.dtype)
        if self._by_kind:
            mask: Any = masks
        else:
            mask = masks["sliding_attention" if self._window else "full_attention"]
        ids = torch.tensor(tokens, device=self._device)[:, None]
        out = self._net(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return out.logits[:, -1]

    def _seen(self, pictures: PromptPictures | None, size: int) -> dict[str, Any]:
        return pictures.placed(size, self._device, self._net.dtype) if pictures else {}

    def supports_slots(self, sample: tuple[list[int], PromptPictures] | None = None) -> bool:
        """Whether the model agrees with itself without a cache, after a row was removed and another
        enlarged; and, of a model that sees, behind the `sample` of a prompt with a picture."""
        try:
            agrees = self._agrees() and (sample is None or self._agrees_behind(*sample))
            self._keep_beginnings_if_possible(agrees=agrees)
            return agrees
        except Exception as error:  # noqa: BLE001 - each family of models fails in ways of its own
            print(f"no continuous batching for this model: {type(error).__name__}: {error}", file=sys.stderr)
            return False

    def _keep_beginnings_if_possible(self, *, agrees: bool) -> None:
        try:
            is_possible = agrees and self._agrees_behind_beginnings()
        except Exception as error:  # noqa: BLE001 - as above
            print(f"no prefix cache for this model: {type(error).__name__}: {error}", file=sys.stderr)
            is_possible = False
        if not is_possible:
            self._prefixes = PrefixCache(0)

    def _agrees(self) -> bool:
        texts = [
            [(5 * n + start) % self._vocabulary for n in range(size)]
            for start, size in ((3, 4), (1, 7), (2, 2))
        ]
        cache = self.new_cache()
        self.prefill(cache, texts[:2])
        cache.remove(0)
        self.prefill(cache, texts[2:])
        rows = [texts[1] + [1], texts[2] + [2]]
        ours = self.decode(cache, [1, 2]).float()
        with torch.inference_mode():
            alone = [
                self._net(input_ids=torch.tensor([row], device=self._device), use_cache=False) for row in rows
            ]
        return self._are_near(ours, torch.cat([out.logits[:, -1] for out in alone]).float())

    def _agrees_behind_beginnings(self) -> bool:
        """Whether prompts that begin as one before are read from there on as from their beginning."""
        texts = [[(7 * n + start) % self._vocabulary for n in range(9)] for start in (1, 1, 1)]
        texts[1][5:], texts[2][5:] = [2, 3], [3, 2, 1]
        own, self._prefixes = self._prefixes, PrefixCache(2**40, least=3)
        try:
            cache = self.new_cache()
            self.prefill(cache, texts[:1])
            ours = self.prefill(cache, texts[1:]).float()
        finally:
            self._prefixes = own
        with torch.inference_mode():
            alone = [self._net(input_ids=torch.tensor([row], device=self._device)) for row in texts[1:]]
        return self._are_near(ours, torch.cat([out.logits[:, -1] for out in alone]).float())

    def _agrees_behind(self, ids: list[int], pictures: PromptPictures) -> bool:
        """Some families count a picture's places otherwise than its tokens, which only they can."""
        cache = self.new_cache()
        self.prefill(cache, [ids], pictures)
        ours = self.decode(cache, [1]).float()
        with torch.inference_mode():
            whole = torch.tensor([[*ids, 1]], device=self._device)
            out = self._net(input_ids=whole, use_cache=False, **self._seen(pictures, len(ids) + 1))
        return self._are_near(ours, out.logits[:, -1].float())

    def _are_near(self, ours: Any, theirs: Any) -> bool:
        allowed = 1e-3 if self._net.dtype == torch.float32 else 5e-2
        return bool((ours - theirs).abs().max() <= allowed * theirs.abs().max().clamp(min=1.0))

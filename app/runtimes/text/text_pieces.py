"""Turns token ids, one after another, into text: no broken characters, no stop string ever leaks. Knows no
model."""

from collections.abc import Callable, Sequence

BROKEN = "\ufffd"  # what a decoder puts where a character is not complete yet
# A character has at most 4 bytes and so at most 4 tokens; what is still broken after so many will never be
# whole.
MOST_OF_ONE_CHARACTER = 4
# Tokens of the prompt that the first piece is decoded with: many tokenizers write a token differently at a
# start.
CONTEXT = 4
# Decoded again and again until then: short enough to be cheap, long enough that the window moves rarely.
WINDOW = 16

Decode = Callable[[list[int]], str]


class Detokenizer:
    """Decodes a window of the last tokens at each new one, and gives out what is new and whole."""

    def __init__(self, decode: Decode, prompt: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(prompt[-CONTEXT:])
        self._emitted = len(decode(self._window)) if self._window else 0  # characters of the window
        self._pending = 0  # tokens since then

    def add(self, token: int) -> str:
        """The text that this token completes; "" while a character is unfinished."""
        self._window.append(token)
        self._pending += 1
        now = self._decode(self._window)
        if now.endswith(BROKEN) and self._pending <= MOST_OF_ONE_CHARACTER:
            return ""
        return self._emit(now)

    def flush(self) -> str:
        """What is left at the end, without the beginning of a character that was never finished."""
        return self._emit(self._decode(self._window)).rstrip(BROKEN) if self._pending else ""

    def _emit(self, now: str) -> str:
        text, self._emitted = now[self._emitted :], max(self._emitted, len(now))
        if len(self._window) >= WINDOW:
            self._window = self._window[-max(CONTEXT, self._pending) :]
            self._emitted = len(self._decode(self._window))
        self._pending = 0
        return text


class StopFilter:
    """Holds back text that may be the beginning of a stop string. `stopped` once one was found."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False
        self.matched = ""  # the stop string that was

    def add(self, text: str) -> str:
        """The text that is safe to give out."""
        if not self._stops:
            return text
        self._held += text
        positions = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if positions:
            at, self.matched = min(positions)
            self.stopped = True
            safe, self._held = self._held[:at], ""
            return safe
        keep = max(overlap(self._held, stop) for stop in self._stops)
        safe, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return safe

    def flush(self) -> str:
        """What was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)

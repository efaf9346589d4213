"""What one request may say about where it runs: less than its version, and only what that allows. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.backends import BackendChoice, choices_of
from app.domain.errors import wrong_field
from app.domain.predictions import REQUESTED, Prediction

NOT_ALLOWED = "is not allowed by this version (`request_routing` of its configuration)"


@dataclass(frozen=True, slots=True)
class RequestRouting:
    """`strategy` instead of the version's own ("": that one); of its backends only these (none: all)."""

    strategy: str = ""
    backends: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "RequestRouting":
        return cls(str(stored.get("strategy") or ""), tuple(stored.get("backends") or ()))

    @classmethod
    def from_prediction(cls, prediction: Prediction) -> "RequestRouting | None":
        """What a prediction's request wants, if it wants anything."""
        stored = (prediction.routing or {}).get(REQUESTED)
        return cls.from_json(stored) if stored else None

    def as_json(self) -> dict[str, Any]:
        """Only what is wanted."""
        values = {"strategy": self.strategy, "backends": list(self.backends)}
        return {name: value for name, value in values.items() if value}

    def check(self, config: Mapping[str, Any]) -> None:
        """Against a version's configuration. Raises InvalidRequest naming the field."""
        names = [choice.name for choice in choices_of(config)]
        allowed = config.get("request_routing") or {}
        if not names and self.as_json():
            raise wrong_field("routing", "is for versions that run on backends, and this one does not")
        if self.strategy and self.strategy not in allowed.get("strategies", ()):
            raise wrong_field("routing.strategy", NOT_ALLOWED)
        if self.backends and not allowed.get("backends"):
            raise wrong_field("routing.backends", NOT_ALLOWED)
        if unknown := [name for name in self.backends if name not in names]:
            sentence = f"names none of this version's backends ({unknown[0][:64]})"
            raise wrong_field("routing.backends", sentence)

    def narrow(self, choices: Sequence[BackendChoice], strategy: str) -> tuple[Sequence[BackendChoice], str]:
        """What is left of a version's."""
        chosen = [choice for choice in choices if choice.name in self.backends] if self.backends else choices
        return chosen, self.strategy or strategy

"""From and to which language a text-to-text model translates: codes that models of many languages take beside
a text, tokens that begin it (Marian), and the prefixes of T5. Knows no network and no job."""

from typing import Any

NAMED = 12  # codes in a sentence
TRANSLATION = "translation"


class Languages:
    """Of one model; used by one thread. The tokenizer is its own: a language changes how it encodes."""

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self._params: dict[str, Any] = getattr(config, "task_specific_params", None) or {}
        self._own = getattr(tokenizer, "src_lang", None)
        self._takes_codes = hasattr(tokenizer, "_build_translation_inputs")
        self._begins: list[str] = list(getattr(tokenizer, "supported_language_codes", None) or ())

    def check(self, source: str | None, target: str | None) -> None:
        """Raises ValueError for languages that the model does not know."""
        if self._takes_codes:
            self._check_codes(source, target)
        elif self._begins:
            if source:
                raise ValueError("source_language: this model finds out by itself what it reads")
            if target and f">>{target}<<" not in self._begins:
                raise ValueError(_unknown("target_language", target, [code[2:-2] for code in self._begins]))
        elif (source or target) and f"{TRANSLATION}_{source}_to_{target}" not in self._params:
            pairs = [name.removeprefix(f"{TRANSLATION}_") for name in self._params if TRANSLATION in name]
            name = "source_language" if source else "target_language"
            if not pairs:
                raise ValueError(f"{name}: this model translates between the languages that it was made for")
            raise ValueError(_unknown(name, f"{source}_to_{target}", pairs))

    def _check_codes(self, source: str | None, target: str | None) -> None:
        for name, code in (("source_language", source), ("target_language", target)):
            if code and self._id_of(code) is None:
                raise ValueError(_unknown(name, code, self._codes()))
        if source and not target:
            raise ValueError("target_language: is needed beside source_language")

    def _codes(self) -> list[str]:
        named = getattr(self.tokenizer, "lang_code_to_token", None)
        return list(named or [token for token in self.tokenizer.all_special_tokens if "_" in token])

    def _id_of(self, code: str) -> int | None:
        """The token by which an answer in this language begins; None of what is no language."""
        token = (getattr(self.tokenizer, "lang_code_to_token", None) or {}).get(code, code)
        is_known = token in self.tokenizer.all_special_tokens and code in self._codes()
        return int(self.tokenizer.convert_tokens_to_ids(token)) if is_known else None

    def prefix(self, task: str, source: str | None, target: str | None) -> str:
        """What is put before a text: the model's configuration names it for some tasks."""
        if self._takes_codes:
            return ""
        if self._begins:
            return f">>{target}<< " if target else ""
        if task == TRANSLATION and source:
            task = f"{TRANSLATION}_{source}_to_{target}"
        settings = self._params.get(task)
        return str(settings.get("prefix") or "") if isinstance(settings, dict) else ""

    def choose(self, source: str | None, target: str | None) -> dict[str, Any]:
        """Makes the tokenizer read this language; what `generate` takes for the other."""
        if not self._takes_codes:
            return {}
        if self.tokenizer.src_lang != (source or self._own):
            self.tokenizer.src_lang = source or self._own
        return {"forced_bos_token_id": self._id_of(target)} if target else {}


def _unknown(name: str, code: str, codes: list[str]) -> str:
    more = f" and {len(codes) - NAMED} more" if len(codes) > NAMED else ""
    return f"{name}: {code[:50]!r} is none of the model's: {', '.join(sorted(codes)[:NAMED])}{more}"

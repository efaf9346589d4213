"""The field's words: retired ones come back neither as names nor in prose (scripts/measure/words.py)."""

from collections.abc import Iterable

import pytest

from scripts.measure import words


def words_of(violations: Iterable[words.Violation]) -> set[str]:
    return {violation.word for violation in violations}


def test_no_retired_word_is_a_name_or_stands_in_prose() -> None:
    violations = words.violations()
    assert not violations, "\n".join(map(str, violations))


def test_every_exception_is_needed() -> None:
    assert not words.idle_exceptions()


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("class DoorBell: pass", "bell"),
        ("def take_unrung(): pass", "unrung"),
        ("def call(patience=1): pass", "patience"),
        ("self._last_words = 1", "last_words"),
        ("for one in rows: pass", "one"),
        ("def of_user(): pass", "of"),
        ("class Row:\n    rung_at: int", "rung"),
    ],
)
def test_a_retired_word_is_found_wherever_a_name_is_defined(source: str, word: str) -> None:
    assert word in words_of(words.in_names("app/planted.py", source))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("the column rung_at", "rung"),
        ("what was put\n    off waits", "put_off"),
        ("The doorbell rings", "doorbell"),
        ("it is given back", "given_back"),
        ("a worker is told of it", "told"),
        ("see PutOff", "put_off"),
    ],
)
def test_a_retired_word_is_found_in_any_text(text: str, word: str) -> None:
    assert word in words_of(words.in_text("docs/planted.md", 1, text))


@pytest.mark.parametrize("text", ["during a string of errors", "nothing was placed", "they are told apart"])
def test_innocent_words_are_left_alone(text: str) -> None:
    assert not list(words.in_text("docs/planted.md", 1, text))


def test_comments_of_several_lines_are_one_text() -> None:
    source = "# what was put\n# off waits\nx = 1\n"
    assert [(line, text) for line, text in words.texts(source)] == [(1, "what was put\noff waits")]


def test_a_tests_name_is_prose() -> None:
    source = "def test_a_bell_rings(): pass\n\ndef helper_that_rings(): pass\n"
    assert words_of(words.in_test_names("tests/test_planted.py", source)) == {"bell", "rings"}

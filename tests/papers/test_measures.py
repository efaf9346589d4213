"""`make measure`, which `make check` runs: each bar is shown to be missed by planted code."""

import ast

import pytest

from scripts.measure import lookups, sizes


def planted(source: str) -> list[sizes.Module]:
    return [sizes.Module("app/planted.py", source, ast.parse(source))]


LONG_FUNCTION = "def f():\n" + "    pass\n" * 40
LONG_CLASS = "class C:\n" + "    x = 1\n" * 200
MANY_METHODS = "class C:\n" + "".join(f"    def m{n}(self): ...\n" for n in range(16))
PLANTED = {
    "functions": LONG_FUNCTION,
    "classes": LONG_CLASS,
    "modules": "x = 1\n" * 401,
    "columns": "x = '" + "a" * 110 + "'\n",
    "excepts": "try:\n    f()\nexcept Exception:\n    pass\n",
    "initialisers": "a, b, c = 1, 2, 3\n",
    "format skips": "x = 1  # fmt: skip\n" * 11,
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_code_misses_its_bar_and_no_other(name: str) -> None:
    over = sizes.measure(planted(PLANTED[name]))
    assert [measure for measure, each in over.items() if each] == [name]


def test_too_many_public_methods_miss_the_bar_of_classes() -> None:
    assert [over.value for over in sizes.measure(planted(MANY_METHODS))["classes"]] == [16]


@pytest.mark.parametrize(
    "line",
    [
        "except Exception:  # noqa: BLE001 - one bad row must not end the loop",
        "except (Exception, SystemExit):  # closed, then raised on",
    ],
)
def test_a_broad_except_with_its_reason_is_allowed(line: str) -> None:
    assert not sizes.measure(planted(f"try:\n    f()\n{line}\n    pass\n"))["excepts"]


@pytest.mark.parametrize(
    "line", ["except:", "except Exception:  # noqa: BLE001", "except (OSError, BaseException):"]
)
def test_a_broad_except_without_a_reason_is_not(line: str) -> None:
    assert sizes.measure(planted(f"try:\n    f()\n{line}\n    pass\n"))["excepts"]


def test_a_concept_that_has_moved_is_named(tmp_path) -> None:
    missing = lookups.missing(tmp_path)
    assert len(missing) == sum(map(len, lookups.PLACES.values()))
    assert "queue position: there is no app/services/predictions/queue_position.py" in missing

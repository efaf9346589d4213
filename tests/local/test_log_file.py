"""Log files are cut when they are large or old, and lose no line."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.local.log_file import cut_if_due

ROOT = Path(__file__).parents[2]


def line(days: int, form: str = "{} 10:00:00 [info     ] access\n") -> str:
    return form.format((datetime.now(UTC) - timedelta(days=days)).date().isoformat())


@pytest.mark.parametrize(
    ("text", "days", "is_cut"),
    [
        ("x" * 10_001, 7, True),
        ("x" * 10_000, 7, False),
        (line(7), 7, True),
        (line(6), 7, False),
        (line(7, '{{"event": "access", "timestamp": "{}T10:00:00Z"}}\n'), 7, True),
        ("a line without a day\n" + line(30) + line(0), 7, True),
        (line(400), 0, False),
        ("2026-99-99 is no day\n", 7, False),
        ("", 7, False),
    ],
)
def test_a_log_is_cut_when_it_is_large_or_begins_days_ago(
    tmp_path: Path, text: str, days: int, is_cut: bool
) -> None:
    log = tmp_path / "api.log"
    log.write_text(text)
    with log.open("a") as writer:
        cut_if_due(log, 10_000, days)
        writer.write("next\n")
    assert log.read_text() == ("next\n" if is_cut else f"{text}next\n")
    copy = tmp_path / "api.log.1"
    assert copy.exists() == is_cut
    assert not is_cut or copy.read_text() == text


def test_what_is_not_there_is_not_cut(tmp_path: Path) -> None:
    cut_if_due(tmp_path / "absent.log")
    assert list(tmp_path.iterdir()) == []


def test_a_process_writes_its_lines_into_the_file_that_it_is_given(tmp_path: Path) -> None:
    """Until then, what keeps it from starting is on the terminal."""
    log = tmp_path / "new" / "api.log"
    script = (
        "import os, sys; from pathlib import Path; from app.local.log_file import redirect_errors\n"
        "print('on the terminal', file=sys.stderr)\n"
        f"redirect_errors(Path({str(log)!r}), 10_000, 7)\n"
        "print('a line', file=sys.stderr); os.system('echo of a child >&2')"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "on the terminal\n"
    assert sorted(log.read_text().splitlines()) == ["a line", "of a child"]
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LOVAGE_ENV_FILE": "off",
        "SECRET_KEY": "0123456789abcdef" * 4,
        "DATABASE_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "FLOWER_BASIC_AUTH": "a:b",
        "LOG_FILE": "/dev/null/log",
    }
    done = subprocess.run(
        [sys.executable, "-m", "app", "flower"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "lovage: LOG_FILE /dev/null/log: cannot be written: File exists",
    )

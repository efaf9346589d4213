"""Environments of Python packages, kept by what they hold: the same requirements on the same Python are
installed once on a machine. Knows files and `uv`; nothing of who needs the packages.
"""

import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

BUILD_SECONDS = 900.0
BUILD_LOG = "build.log"
REQUIREMENTS = "requirements.txt"
SENTENCE_LENGTH = 600
# What the installer sees of this process's environment: where packages come from, and no password of ours.
PASSED: tuple[str, ...] = (
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "SSL_CERT_FILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
PASSED += ("http_proxy", "https_proxy", "no_proxy", "XDG_CACHE_HOME")
PASSED_PREFIXES = ("UV_", "PIP_")
FILE_MARKS = ("./", "file:", "--find-links", "-f ", "-e ", "-r ", "-c ")  # in requirements: files beside them


class InstallFailed(Exception):
    """The sentence goes on after what could not be installed."""


def environment_name(file: Path) -> str:
    """One for the same requirements on the same Python; the folder counts where they name files in it."""
    text = file.read_text("utf-8")
    parts = [file.name, text, *_interpreter()]
    if any(mark in text for mark in FILE_MARKS):
        parts.append(str(file.parent))
    return _hashed(parts)


def _interpreter() -> list[str]:
    return [sys.version, platform.platform()]


def _hashed(parts: Sequence[str]) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


def install_beside(file: Path, environment: Path) -> None:
    """Installs what the file names into a folder of packages that is put before others' packages; does
    nothing where it is there. Raises InstallFailed."""
    if environment.is_dir():
        return
    with _part_of(environment) as part:
        target = ("--python", sys.executable, "--target", str(part))
        words = _run(["pip", "install", *target, "-r", file.name], file.parent, part)
        (part / BUILD_LOG).write_text(words, "utf-8")


def make_venv(requirements: Sequence[str], folder: Path) -> Path:
    """A virtual environment with these packages and no others, in `folder`, made where it is not there:
    minutes. Answers where its programs are. Raises InstallFailed."""
    environment = folder / f"venv-{_hashed([*requirements, *_interpreter()])}"
    if not environment.is_dir():
        with _part_of(environment) as part:
            python = part / "bin" / "python"
            _run(["venv", "--relocatable", "--python", sys.executable, str(part)], folder, part)
            (part / REQUIREMENTS).write_text("\n".join(requirements) + "\n", "utf-8")
            named = ("--python", str(python), "-r", REQUIREMENTS)
            (part / BUILD_LOG).write_text(_run(["pip", "install", *named], part, part), "utf-8")
    return environment / "bin"


@contextmanager
def _part_of(environment: Path) -> Iterator[Path]:
    """A folder beside it that takes its place when the block ends well, and is gone otherwise."""
    part = environment.with_name(f"{environment.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        part.rename(environment)
    except OSError as error:
        if not environment.is_dir():  # another worker of this machine may have been faster
            raise InstallFailed(f"cannot be installed: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _run(arguments: Sequence[str], folder: Path, part: Path) -> str:
    """What uv says. Raises InstallFailed with the end of it."""
    log.info("in %s: uv %s", folder.name, arguments[0])
    try:
        process = subprocess.run(
            [*installer(), *arguments],
            cwd=folder,
            env=_installer_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InstallFailed(f"took longer than {BUILD_SECONDS:g} s to install") from None
    words = (process.stdout + process.stderr).replace(str(part), part.stem)
    log.info("in %s: %s", folder.name, words.strip())
    if process.returncode:
        last = " ".join(words.replace(str(folder), ".").split())[-SENTENCE_LENGTH:]
        raise InstallFailed(f"cannot be installed: {last}")
    return words


def installer() -> list[str]:
    """The command of uv. Raises InstallFailed where it is not installed."""
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    if command := shutil.which("uv"):
        return [command]
    raise InstallFailed("cannot be installed: this worker has no uv (pip install uv)")


def _installer_environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED or name.startswith(PASSED_PREFIXES)
    }
    return {**kept, "UV_NO_PROGRESS": "1", "PYTHONPATH": _uv_path()}


def _uv_path() -> str:
    """Where the package uv lies, so that the interpreter finds it however this one did."""
    package = importlib.util.find_spec("uv")
    return str(Path(package.origin).parents[1]) if package and package.origin else ""

"""Outside development a process does not start with a secret that others could know."""

import os
import subprocess
import sys

import pytest

from app.settings import is_weak

DATABASE = "postgresql+psycopg2://u:p@127.0.0.1:1/x"
GOOD = "0f8b4c1d" * 8


def started(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "DATABASE_URL": DATABASE,
        "REDIS_URL": "redis://x",
    }
    command = (sys.executable, "-m", "app", *command)
    return subprocess.run(
        command, env=env | environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("secret", [None, "changeme", "secret" * 6])
def test_the_api_refuses_a_weak_secret_with_one_sentence(secret: str | None) -> None:
    done = started("api", "--port", "1", **({} if secret is None else {"SECRET_KEY": secret}))
    assert done.returncode == 2
    assert done.stderr.startswith("lovage: SECRET_KEY must be at least 32 bytes and not a known default")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_worker_refuses_private_addresses_in_production() -> None:
    done = started("worker", "--courier", SECRET_KEY=GOOD, ALLOW_PRIVATE_ADDRESSES="true")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "ALLOW_PRIVATE_ADDRESSES is for development only" in done.stderr


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "x" * 31,
        "x" * 64,
        "0123456" * 5,
        "password" * 4,
        "Change-Me-" * 4,
        "your-secret-key-" * 3,
        "test1234" * 4,
    ],
)
def test_secrets_that_others_could_know_are_weak(secret: str) -> None:
    assert is_weak(secret)


def test_a_random_secret_is_strong() -> None:
    assert not is_weak(GOOD)
    assert not is_weak("correct horse battery staple, and more of it")

"""A worker and a courier have one client of Redis, the process's: whatever opens one goes through
app/redis_client.py. What is Celery's own is behind its fence."""

import re
from pathlib import Path

import app

ROOT = Path(app.__file__).parent
OPENS = re.compile(r"\b(Redis\.from_url|redis\.from_url|Redis\()")
# The event loop of an API process has clients of its own, and so have its limits and its health.
OF_THE_API = {"events/reader.py", "services/people/rate_limits.py", "services/platform/health.py"}


def test_nobody_else_opens_one() -> None:
    opening = {
        str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if OPENS.search(path.read_text("utf-8"))
    }
    assert {path for path in opening if not path.startswith(("local/", "cli/"))} - OF_THE_API == {
        "redis_client.py"
    }


def test_nothing_of_a_worker_imports_those_of_the_api() -> None:
    names = {path.removesuffix(".py").replace("/", ".") for path in OF_THE_API}
    for path in [*(ROOT / "worker").rglob("*.py"), *(ROOT / "broker").rglob("*.py")]:
        assert not [name for name in names if f"from app.{name} import" in path.read_text("utf-8")], path

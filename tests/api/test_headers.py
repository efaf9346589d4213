"""The grammars of request headers."""

import pytest

from app.api.headers import byte_range, wait_seconds


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        (None, None),
        ("", None),
        ("wait", 60),
        ("wait=5", 5),
        ("wait=0", None),
        ("wait=600", 60),
        ("Wait = 5", 5),
        ('wait="7"', 7),
        ("respond-async", None),
        ("respond-async, wait=10", 10),
        ("wait=10; foo=bar", 10),
        ("waiter=3", None),
        ("wait=x", None),
        ("foo=wait", None),
    ],
)
def test_prefer(prefer, seconds):
    assert wait_seconds(prefer) == seconds


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=5-", (5, 9)),
        ("bytes=-2", (8, 9)),
        ("bytes=0-99", (0, 9)),
        ("bytes=-", None),
        ("bytes=9-5", None),
        ("bytes=10-", None),
        ("bytes=-0", None),
        ("bytes=0-1,3-4", None),
        (None, None),
        ("x", None),
    ],
)
def test_range(text, part):
    assert byte_range(text, 10) == part
    assert byte_range(text, 0) is None

"""A proxy that nobody has named is noticed, once."""

import pytest
from structlog.testing import capture_logs

from app.api.proxies import ProxyCheck


@pytest.mark.parametrize(
    ("address", "forwarded_for", "is_untrusted"),
    [
        ("10.0.0.3", "203.0.113.9", True),
        ("10.0.0.3", "203.0.113.9, 10.0.0.4", True),
        ("203.0.113.9", "203.0.113.9, 10.0.0.4", False),  # uvicorn has taken it from a trusted proxy
        ("203.0.113.9", "198.51.100.1, 203.0.113.9:4711", False),
        ("2001:db8::9", "[2001:db8::9]:4711", False),
        ("2001:db8::9", "2001:db8::9", False),
    ],
)
def test_a_proxy_that_is_not_trusted_is_named_once(address, forwarded_for, is_untrusted) -> None:
    check = ProxyCheck()
    with capture_logs() as logs:
        assert check.look(address, forwarded_for) is is_untrusted
        assert check.look(address, forwarded_for) is False
    assert [entry["event"] for entry in logs] == ["proxy_not_trusted"] * is_untrusted
    assert all("TRUSTED_PROXIES" in entry["meaning"] for entry in logs)


def test_signing_in_through_such_a_proxy_says_so(start_server) -> None:
    import httpx

    server = start_server()
    login = {"username": "nobody", "password": "wrong password"}
    with capture_logs() as logs:
        for _ in range(2):
            headers = {"X-Forwarded-For": "203.0.113.9"}
            httpx.post(f"{server.url}/v1/auth/token", data=login, headers=headers, trust_env=False)
    assert [entry["event"] for entry in logs].count("proxy_not_trusted") == 1

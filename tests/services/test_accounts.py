"""Passwords and the limits on guessing them."""

import time

from app.services import passwords


def test_a_password_matches_its_hash_only():
    stored = passwords.hashed("correct horse battery")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.matches("correct horse battery", stored)
    assert not passwords.matches("correct horse batterz", stored)
    assert not passwords.matches("x" * 2_000, stored)
    assert not passwords.matches("nobody has this password", None)


def test_an_unknown_user_takes_as_long_as_a_wrong_password():
    stored, times = passwords.hashed("correct horse battery"), []
    for hash_ in (stored, None):
        began = time.perf_counter()
        for _ in range(5):
            passwords.matches("wrong password", hash_)
        times.append(time.perf_counter() - began)
    assert max(times) < 3 * min(times)

"""Passwords and the limits on guessing them."""

from app.services.people import passwords


def test_a_password_matches_its_hash_only():
    stored = passwords.hashed("correct horse battery")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passwords.matches("correct horse battery", stored)
    assert not passwords.matches("correct horse batterz", stored)
    assert not passwords.matches("x" * 2_000, stored)
    assert not passwords.matches("nobody has this password", None)

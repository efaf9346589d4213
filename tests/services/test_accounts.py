"""Passwords and the limits on guessing them."""

import subprocess
import sys

from app.services.people import passwords


def test_a_password_is_hashed_by_argon2_with_the_smallest_profile_of_owasp():
    code = "from app.services.people import passwords; print(passwords.hashed('correct horse battery'))"
    stored = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_password_matches_its_hash_only():
    stored = passwords.hashed("correct horse battery")
    assert passwords.matches("correct horse battery", stored)
    assert not passwords.matches("correct horse batterz", stored)
    assert not passwords.matches("x" * 2_000, stored)
    assert not passwords.matches("nobody has this password", None)

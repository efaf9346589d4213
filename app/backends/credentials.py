"""Backends' credentials at rest: Fernet (AES-128-CBC with an HMAC) under a key that is derived from
SECRET_KEY and used for nothing else."""

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.domain.errors import Unavailable


class CredentialSealer:
    """`secret_key`: the platform's; the same for all processes."""

    def __init__(self, secret_key: str) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=b"lovage backend credentials").derive(
            secret_key.encode()
        )
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def seal(self, credential: str) -> bytes:
        return self._fernet.encrypt(credential.encode())

    def unseal(self, sealed: bytes | None) -> str:
        """Raises Unavailable for one that was sealed with another SECRET_KEY."""
        if sealed is None:
            return ""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise Unavailable(
                "The credential was stored with another SECRET_KEY: set it anew (lovage backends set --key)."
            ) from None

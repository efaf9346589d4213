"""Signed URLs for storages that the API itself serves: HMAC-SHA256 over key and expiry. S3 signs its own."""

import base64
import hashlib
import hmac
import time
from urllib.parse import quote, urlencode

PATH = "/v1/files/content/"


class UrlSigner:
    """The secret is the platform's; a key derived from it signs files only."""

    def __init__(self, secret: str) -> None:
        self._key = hashlib.sha256(b"lovage file url\x00" + secret.encode()).digest()

    def signature(self, key: str, expires: int) -> str:
        """URL-safe base64 without padding."""
        mac = hmac.new(self._key, f"{expires}\n{key}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac).decode().rstrip("=")

    def url(self, key: str, seconds: int, base_url: str, filename: str | None = None) -> str:
        """`expires` is rounded up to a minute, so that the same file polled twice has the same URL and can be
        cached."""
        expires = (int(time.time()) + seconds) // 60 * 60 + 60
        query = {"expires": str(expires), "signature": self.signature(key, expires)}
        if filename:
            query["filename"] = filename
        return f"{base_url}{PATH}{quote(key)}?{urlencode(query)}"

    def verify(self, key: str, expires: int, signature: str) -> bool:
        """Whether the signature is ours and has not expired."""
        good = hmac.compare_digest(self.signature(key, expires).encode(), signature.encode())
        return good and expires >= time.time()

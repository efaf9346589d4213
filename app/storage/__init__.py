"""Files: outputs and uploads, by key, in a folder, in S3, or in memory. Knows no prediction and no HTTP."""

from app.settings import Settings
from app.storage.base import Storage
from app.storage.local import LocalStorage
from app.storage.memory import MemoryStorage
from app.storage.s3 import S3Storage
from app.storage.signing import UrlSigner

__all__ = ["Storage", "open_storage"]


def open_storage(settings: Settings) -> Storage:
    """The storage that the settings name."""
    signer = UrlSigner(settings.secret_key)
    if settings.storage == "s3":
        return S3Storage(
            settings.s3_bucket,
            prefix=settings.s3_prefix,
            endpoint_url=settings.s3_endpoint_url or None,
            region=settings.s3_region,
            access_key_id=settings.s3_access_key_id or None,
            secret_access_key=settings.s3_secret_access_key or None,
        )
    if settings.storage == "memory":
        return MemoryStorage(signer)
    return LocalStorage(settings.storage_folder, signer)

"""Files: outputs and uploads, by key, in a folder, in S3, or in memory. Knows no prediction and no HTTP."""

import platform
from dataclasses import dataclass
from pathlib import Path

from app.storage.base import Storage
from app.storage.local import LocalStorage
from app.storage.memory import MemoryStorage
from app.storage.signing import UrlSigner

__all__ = ["Storage", "StorageOptions", "location_of", "open_storage"]


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """`kind` is local, s3 or memory; `secret_key` signs the URLs of the first and the last. Without keys
    boto3 looks for its own."""

    kind: str
    secret_key: str
    folder: Path = Path()
    bucket: str = ""
    prefix: str = ""
    endpoint_url: str = ""
    public_url: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = ""


def location_of(options: StorageOptions) -> str:
    """Where it is, for people; "" for what no other process sees."""
    if options.kind == "s3":
        return f"the bucket {options.bucket}/{options.prefix} at {options.endpoint_url or 'Amazon S3'}"
    if options.kind == "memory":
        return ""
    return f"the folder {options.folder.absolute()} on {platform.node()}"


def open_storage(options: StorageOptions) -> Storage:
    """The storage that the options name."""
    signer = UrlSigner(options.secret_key)
    if options.kind == "s3":
        from app.storage.s3 import S3Storage  # boto3 comes with it: 0.3 s and 15 MB

        return S3Storage(
            options.bucket,
            prefix=options.prefix,
            endpoint_url=options.endpoint_url or None,
            public_url=options.public_url or None,
            region=options.region,
            access_key_id=options.access_key_id or None,
            secret_access_key=options.secret_access_key or None,
        )
    if options.kind == "memory":
        return MemoryStorage(signer)
    return LocalStorage(options.folder, signer)

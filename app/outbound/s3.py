"""S3, or a server that speaks its protocol: the client, with our time limits, and reading a bucket's
objects."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Checksums only where the protocol demands them: some servers answer a range with the whole file's checksum.
CONFIG = Config(
    signature_version="s3v4",
    connect_timeout=3,
    read_timeout=10,
    retries={"total_max_attempts": 3, "mode": "standard"},
    response_checksum_validation="when_required",
    request_checksum_calculation="when_required",
    s3={"addressing_style": "path"},
    max_pool_connections=32,
)


def connect(
    endpoint_url: str | None, region: str, access_key_id: str | None, secret_access_key: str | None
) -> Any:
    """boto3's client, with our limits. Without an endpoint Amazon's, without keys boto3's own credential
    chain."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=CONFIG,
    )


class S3Failed(Exception):
    """The server refused or could not be reached. Its text is the library's."""


class S3Objects:
    """What is stored in buckets. Calls block."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def list_objects(self, bucket: str, prefix: str) -> list[tuple[str, int, str]]:
        """(name without the prefix, size in bytes, ETag) of every object that begins with it; no folders,
        which consoles write as empty objects. Raises S3Failed."""
        with _failures():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            return [
                (name, item["Size"], item.get("ETag", ""))
                for page in pages
                for item in page.get("Contents", [])
                if (name := item["Key"].removeprefix(prefix)) and not name.endswith("/")
            ]

    def download(self, bucket: str, key: str, target: Path) -> None:
        """Raises S3Failed, OSError."""
        with _failures():
            self._client.download_file(bucket, key, str(target))


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError, Boto3Error) as error:
        raise S3Failed(str(error) or type(error).__name__) from error

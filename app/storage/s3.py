"""Files in a bucket of S3 or of a server that speaks its protocol."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from boto3.exceptions import S3UploadFailedError
from botocore.exceptions import BotoCoreError, ClientError

from app.domain.errors import StorageFailed
from app.outbound import s3
from app.storage.base import BLOCK, Range, checked, missing

ABSENT = {"404", "NoSuchKey", "NotFound"}
DELETE_AT_ONCE = 1_000  # the protocol's limit
LONGEST_URL_SECONDS = 7 * 86_400  # likewise, of a presigned URL


class S3Storage:
    """boto3's own credential chain when no keys are given. `public_url`: where callers reach the server, if
    not at `endpoint_url`."""

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        endpoint_url: str | None = None,
        region: str = "us-east-1",
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        public_url: str | None = None,
    ) -> None:
        self._bucket, self._prefix = bucket, prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._client = s3.connect(endpoint_url, region, access_key_id, secret_access_key)
        # A signature covers the host: one made for our address of the server is refused at the callers' one.
        self._signer = (
            s3.connect(public_url, region, access_key_id, secret_access_key) if public_url else self._client
        )

    def put(self, key: str, source: Path | bytes, content_type: str) -> None:
        name = self._prefix + checked(key)
        with _failures():
            if isinstance(source, bytes):
                self._client.put_object(Bucket=self._bucket, Key=name, Body=source, ContentType=content_type)
            else:
                self._client.upload_file(
                    str(source), self._bucket, name, ExtraArgs={"ContentType": content_type}
                )

    def open(self, key: str, part: Range | None = None) -> tuple[Iterator[bytes], int, str]:
        range_of_part = {} if part is None else {"Range": f"bytes={part[0]}-{part[1]}"}
        with _failures():
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._prefix + checked(key), **range_of_part
            )
        whole = answer.get("ContentRange", "").rpartition("/")[2]
        size = int(whole) if whole else answer["ContentLength"]
        return _blocks(answer["Body"]), size, answer.get("ContentType", "application/octet-stream")

    def exists(self, key: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._prefix + checked(key))
        except ClientError as error:
            if error.response["Error"]["Code"] in ABSENT:
                return False
            raise StorageFailed("The file storage refused the request.") from error
        except BotoCoreError as error:
            raise StorageFailed("The file storage cannot be reached.") from error
        return True

    def delete(self, keys: Sequence[str]) -> None:
        names = [{"Key": self._prefix + checked(key)} for key in keys]
        with _failures():
            for at in range(0, len(names), DELETE_AT_ONCE):
                batch = {"Objects": names[at : at + DELETE_AT_ONCE], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=batch)
                if any(error.get("Code") not in ABSENT for error in answer.get("Errors", [])):
                    raise StorageFailed("The file storage did not delete every file.")

    def list(self, prefix: str) -> Iterator[str]:
        with _failures():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self._prefix)

    def url(self, key: str, seconds: int, base_url: str, filename: str | None = None) -> str:
        params = {"Bucket": self._bucket, "Key": self._prefix + checked(key)}
        if filename:
            params["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
        url: str = self._signer.generate_presigned_url(
            "get_object", params, min(seconds, LONGEST_URL_SECONDS)
        )
        return url


def _blocks(body: Any) -> Iterator[bytes]:
    """A connection that breaks in the middle is a storage failure too."""
    with _failures():
        yield from body.iter_chunks(BLOCK)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in ABSENT:
            raise missing() from error
        raise StorageFailed("The file storage refused the request.") from error
    except (BotoCoreError, S3UploadFailedError) as error:
        raise StorageFailed("The file storage cannot be reached.") from error
    # the file that was to be stored (some of botocore's own errors are OSErrors: they come first)
    except OSError as error:
        raise StorageFailed(f"The file could not be stored: {error.strerror}.") from error

"""An in-memory S3 with pages and conditional writes; fails or loses responses on demand."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from facectl.context import Deployment
from lambda_src.aws import AwsError

PAGE = 3


class ProcessKilled(BaseException):
    """The process that made the call was killed."""


@dataclass
class Stored:
    """One object."""

    data: bytes
    modified: datetime
    sha256: str | None

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'  # noqa: S324 - as S3's are


@dataclass
class Fault:
    """A fault at the call with this number, counted from the time it is set.

    `kind`: `kill` before the call, `fail` before it, `lost` after it (its response is
    not seen), `again` (its response was lost and botocore repeats the call), `slow`
    (hours pass before it), `other` (`act` runs before it).
    """

    call: int
    kind: str
    act: Callable[[], None] = lambda: None


@dataclass
class MemoryS3:
    """The calls of boto3's S3 client that facectl makes; every one takes a second."""

    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    now: datetime = datetime(2026, 1, 1, tzinfo=timezone.utc)
    fault: Fault | None = None
    changes: int = 0

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, **given: Any) -> dict[str, Any]:  # noqa: N803
        def put() -> dict[str, Any]:
            objects = self.buckets[Bucket]
            there = objects.get(Key)
            if given.get("IfNoneMatch") == "*" and there is not None:
                raise _error("PreconditionFailed", 412)
            if "IfMatch" in given:
                if there is None:
                    raise _error("NoSuchKey", 404)
                if there.etag != given["IfMatch"]:
                    raise _error("PreconditionFailed", 412)
            sha256 = b64encode(hashlib.sha256(Body).digest()).decode()
            if given.get("ChecksumSHA256", sha256) != sha256:
                raise _error("BadDigest", 400)
            kept = sha256 if "ChecksumSHA256" in given else None
            self.changes += 1
            objects[Key] = Stored(bytes(Body), self.now, kept)
            return {"ETag": objects[Key].etag}

        return self._call(put)

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        def get() -> dict[str, Any]:
            found = self._found(Bucket, Key)
            return {"Body": io.BytesIO(found.data), "ETag": found.etag}

        return self._call(get)

    def head_object(self, *, Bucket: str, Key: str, **given: Any) -> dict[str, Any]:  # noqa: N803
        def head() -> dict[str, Any]:
            found = self._found(Bucket, Key)
            checksum = {"ChecksumSHA256": found.sha256} if found.sha256 else {}
            return {"ContentLength": len(found.data), "ETag": found.etag, **checksum}

        return self._call(head)

    def delete_objects(self, *, Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        def delete() -> dict[str, Any]:
            self.changes += 1
            for item in Delete["Objects"]:
                self.buckets[Bucket].pop(item["Key"], None)
            return {}

        return self._call(delete)

    def delete_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        return self.delete_objects(Bucket=Bucket, Delete={"Objects": [{"Key": Key}]})

    def list_objects_v2(self, *, Bucket: str, Prefix: str) -> dict[str, Any]:  # noqa: N803
        pages = self.paginate(Bucket=Bucket, Prefix=Prefix)
        return {"Contents": [item for page in pages for item in page.get("Contents", [])]}

    def get_bucket_versioning(self, *, Bucket: str) -> dict[str, Any]:  # noqa: N803
        return self._call(dict)

    def get_paginator(self, name: str) -> MemoryS3:
        assert name == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        after = ""
        while True:
            page = self._call(lambda after=after: self._page(Bucket, Prefix, after))
            yield page
            if "Contents" not in page:
                return
            after = page["Contents"][-1]["Key"]

    def _page(self, bucket: str, prefix: str, after: str) -> dict[str, Any]:
        objects = self.buckets[bucket]
        keys = sorted(key for key in objects if key.startswith(prefix) and key > after)[:PAGE]
        contents = [
            {"Key": key, "Size": len(objects[key].data), "LastModified": objects[key].modified}
            for key in keys
        ]
        return {"Contents": contents} if contents else {}

    def _found(self, bucket: str, key: str) -> Stored:
        found = self.buckets[bucket].get(key)
        if found is None:
            raise _error("NoSuchKey", 404)
        return found

    def _call(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.now += timedelta(seconds=1)
        fault = self.fault
        if fault is None or fault.call > 0:
            if fault is not None:
                fault.call -= 1
            return work()
        self.fault = None
        if fault.kind == "kill":
            raise ProcessKilled
        if fault.kind == "fail":
            raise _error("InternalError", 500)
        if fault.kind == "slow":
            self.now += timedelta(hours=3)
        if fault.kind == "other":
            fault.act()
        answer = work()
        if fault.kind == "lost":
            raise ReadTimeoutError(endpoint_url="https://s3")
        return work() if fault.kind == "again" else answer


class MemoryAws:
    """The S3 calls of a function."""

    def __init__(self, s3: MemoryS3) -> None:
        self._s3 = s3

    def get_object(
        self, bucket: str, key: str, *, known_etag: str | None = None
    ) -> tuple[bytes, str] | None:
        found = self._s3.buckets[bucket].get(key)
        if found is None:
            raise AwsError("s3: NoSuchKey", status=404, code="NoSuchKey")
        return None if found.etag == known_etag else (found.data, found.etag)


@dataclass
class MemoryClients:
    """The part of `facectl.aws.Clients` that publishing uses."""

    deployment: Deployment
    s3: MemoryS3
    account: str

    @property
    def bucket(self) -> str:
        return self.deployment.names.bucket(self.account, self.deployment.region)


def _error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "S3",
    )

"""Lists, verifies, writes and deletes the objects of galleries in a deployment's bucket.

    gallery/<space>/current.json               the newest manifest, which functions read
    gallery/<space>/versions/000007-<sha>.json the manifests of the last versions
    gallery/<space>/parts/<sha256>.part        parts that manifests name, never changed

`<space>` is a digest of the embedding space. facectl 1 kept one gallery per bucket,
without that folder.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from facectl.aws import ClientError, Clients
from facectl.aws_errors import error_code
from facectl.errors import CloudError
from lambda_src.gallery.parts import ROOT, PartRef, part_key

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

PREFIX = f"{ROOT}/"
# The manifest of a gallery that facectl 1 published.
OLD_KEY = f"{ROOT}/current.json"
_POINTER = "current.json"
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
# AWS: "Conditional requests", S3 User Guide. 404: the object to match was deleted.
# 409: another write to it is in progress.
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})


@dataclass(frozen=True, slots=True)
class ListedObject:
    """An object in a listing; `modified` is the time S3 gives."""

    key: str
    size: int
    modified: datetime


class GalleryBucket:
    """The bucket of one deployment. Its methods raise botocore's errors."""

    def __init__(self, clients: Clients) -> None:
        deployment = clients.deployment
        self.deployment = deployment
        self.name = deployment.names.bucket(clients.account, deployment.region)
        self._s3 = clients.s3

    def read(self, key: str) -> tuple[bytes, str] | None:
        """The bytes and the ETag of an object; None if it or the bucket does not exist."""
        try:
            answer = self._s3.get_object(Bucket=self.name, Key=key)
            return answer["Body"].read(), answer["ETag"]
        except ClientError as error:
            if error_code(error) in _MISSING:
                return None
            raise

    def listed(self, prefix: str) -> list[ListedObject]:
        """Every object whose key begins with the prefix."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [
            ListedObject(item["Key"], item["Size"], item["LastModified"])
            for page in pages
            for item in page.get("Contents", [])
        ]

    def manifests(self) -> list[str]:
        """The keys of the newest manifests, of every space."""
        return [item.key for item in self.listed(PREFIX) if item.key.endswith(f"/{_POINTER}")]

    def holds(self, key: str, sha256: str, size: int) -> bool:
        """Whether an object has this digest and size, by S3's checksum or by reading it."""
        try:
            head = self._s3.head_object(Bucket=self.name, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if error_code(error) in _MISSING:
                return False
            raise
        if head["ContentLength"] != size:
            return False
        checksum = head.get("ChecksumSHA256", "")
        if checksum:
            return base64.b64decode(checksum).hex() == sha256
        found = self.read(key)
        return found is not None and hashlib.sha256(found[0]).hexdigest() == sha256

    def holds_part(self, manifest: str, ref: PartRef) -> bool:
        """Whether a part exists and has the bytes that its name states."""
        return self.holds(part_key(manifest, ref.sha256), ref.sha256, ref.bytes)

    def write(self, key: str, data: bytes) -> None:
        """Put an object and verify it; raises CloudError if it differs."""
        self._put(key, data)
        if not self.holds(key, hashlib.sha256(data).hexdigest(), len(data)):
            raise CloudError(
                f"{key} in {self.name} is not what was written to it",
                hint="facectl gallery publish",
            )

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        """Replace the object that has `etag`, or create it if `etag` is None.

        Returns False if another computer changed it since it was read.
        """
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            self._put(key, data, **condition)
        except ClientError as error:
            if error_code(error) in _CHANGED:
                return False
            raise
        return True

    def _put(self, key: str, data: bytes, **condition: str) -> None:
        kind = "application/json" if key.endswith(".json") else "application/octet-stream"
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        self._s3.put_object(
            Bucket=self.name, Key=key, Body=data, ContentType=kind,
            ChecksumAlgorithm="SHA256", ChecksumSHA256=digest, **condition,  # type: ignore[arg-type]
        )  # fmt: skip

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; raises CloudError if S3 refuses one."""
        self._delete([{"Key": key} for key in keys])

    def delete_replaced(self) -> None:
        """Delete noncurrent object versions and delete markers, if the bucket has versioning."""
        status: str = self._s3.get_bucket_versioning(Bucket=self.name).get("Status", "")
        if status not in ("Enabled", "Suspended"):
            return
        pages = self._s3.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=PREFIX
        )
        found: list[ObjectIdentifierTypeDef] = []
        for page in pages:
            noncurrent = [item for item in page.get("Versions", []) if not item["IsLatest"]]
            for item in (*noncurrent, *page.get("DeleteMarkers", [])):
                found += [{"Key": item["Key"], "VersionId": item["VersionId"]}]
        self._delete(found)

    def _delete(self, objects: Sequence[ObjectIdentifierTypeDef]) -> None:
        for start in range(0, len(objects), 1000):
            answer = self._s3.delete_objects(
                Bucket=self.name,
                Delete={"Objects": objects[start : start + 1000], "Quiet": True},
            )
            for refused in answer.get("Errors", []):
                raise CloudError(
                    f"{refused.get('Key')} in {self.name} can't be deleted: "
                    f"{refused.get('Code')}: {refused.get('Message')}"
                )


def versions_prefix(manifest: str) -> str:
    """The key prefix of a gallery's last versions."""
    return f"{manifest.rpartition('/')[0]}/versions/"


def parts_prefix(manifest: str) -> str:
    """The key prefix of a gallery's parts."""
    return f"{manifest.rpartition('/')[0]}/parts/"

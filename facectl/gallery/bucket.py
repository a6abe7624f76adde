"""The objects of galleries in a deployment's bucket: listed, verified, written, deleted.

    gallery/<space>/current.json               the newest manifest: what functions ask for
    gallery/<space>/versions/000007-<sha>.json the manifests of the last versions
    gallery/<space>/parts/<sha256>.part        what manifests name, never changed

`<space>` is a digest of the embedding space. Until version 1 of facectl a bucket
had one gallery, without that folder.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from facectl.aws import ClientError, Clients, error_code
from facectl.errors import CloudError
from lambda_src.gallery.parts import ROOT, PartRef, part_key

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

PREFIX = f"{ROOT}/"
# The manifest of a gallery that facectl 1 published.
OLD_KEY = f"{ROOT}/current.json"
_POINTER = "current.json"
_MISSING = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})
# AWS: "Conditional requests", S3 User Guide. 404 where the object to match is gone,
# 409 where another write to it is under way.
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing has it; `modified` is S3's own time."""

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
        """An object and its ETag; None where it, or the bucket, does not exist."""
        try:
            answer = self._s3.get_object(Bucket=self.name, Key=key)
            return answer["Body"].read(), answer["ETag"]
        except ClientError as error:
            if error_code(error) in _MISSING:
                return None
            raise

    def listed(self, prefix: str) -> list[Listed]:
        """Every object whose key begins so."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [
            Listed(item["Key"], item["Size"], item["LastModified"])
            for page in pages
            for item in page.get("Contents", [])
        ]

    def manifests(self) -> list[str]:
        """The keys of the newest manifests, of every space."""
        return [item.key for item in self.listed(PREFIX) if item.key.endswith(f"/{_POINTER}")]

    def holds(self, key: str, sha256: str, size: int) -> bool:
        """Whether an object has these bytes: by S3's checksum, else by reading it."""
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
        """Whether a part is there, with the bytes that its name promises."""
        return self.holds(part_key(manifest, ref.sha256), ref.sha256, ref.bytes)

    def write(self, key: str, data: bytes) -> None:
        """Put an object and see that it is there; raises CloudError where it is not."""
        self._put(key, data)
        if not self.holds(key, hashlib.sha256(data).hexdigest(), len(data)):
            raise CloudError(
                f"{key} in {self.name} is not what was written to it",
                hint="facectl gallery publish",
            )

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        """Put an object in the place of the one with `etag`, None where there was none.

        False where another computer changed it meanwhile.
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
        """Delete objects; raises CloudError where S3 kept one."""
        self._delete([{"Key": key} for key in keys])

    def delete_replaced(self) -> None:
        """Delete what a bucket with versioning keeps of deleted and replaced objects."""
        status: str = self._s3.get_bucket_versioning(Bucket=self.name).get("Status", "")
        if status not in ("Enabled", "Suspended"):
            return
        pages = self._s3.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=PREFIX
        )
        found: list[ObjectIdentifierTypeDef] = []
        for page in pages:
            gone = [item for item in page.get("Versions", []) if not item["IsLatest"]]
            for item in (*gone, *page.get("DeleteMarkers", [])):
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
    """What the keys of a gallery's last versions begin with."""
    return f"{manifest.rpartition('/')[0]}/versions/"


def parts_prefix(manifest: str) -> str:
    """What the keys of a gallery's parts begin with."""
    return f"{manifest.rpartition('/')[0]}/parts/"

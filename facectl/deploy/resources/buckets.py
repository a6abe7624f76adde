"""The bucket of the gallery."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import Account, DesiredState
from facectl.deploy.resources.base import (
    Context,
    Tagged,
    owner_tag,
    policy,
    refuse_plain_http,
    tag_list,
)
from facectl.errors import CloudError
from facectl.gallery import forgetting, publish
from facectl.naming import TAG_KEY
from lambda_src.stages import attempts

if TYPE_CHECKING:
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_s3.type_defs import (
        CreateBucketConfigurationTypeDef,
        DeleteTypeDef,
        LifecycleRuleOutputTypeDef,
        LifecycleRuleUnionTypeDef,
        ObjectIdentifierTypeDef,
        PublicAccessBlockConfigurationTypeDef,
    )

# S3 rejects this region as a LocationConstraint.
_UNNAMED_REGION = "us-east-1"
PRIVATE: PublicAccessBlockConfigurationTypeDef = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
# Expires the objects that crashed workers leave. One day is S3's minimum.
EXPIRY: LifecycleRuleUnionTypeDef = {
    "ID": "facectl-attempts",
    "Status": "Enabled",
    "Filter": {"Prefix": attempts.PREFIX},
    "Expiration": {"Days": 1},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
}


@dataclass(frozen=True, slots=True)
class Bucket(Tagged):
    """The bucket of the gallery; never public.

    `https_only`: its policy denies plain HTTP.
    `kms_key`: the key of new objects, empty for a key of S3.
    `attempts_expire`: S3 deletes the objects of `lambda_src.stages.attempts` after a day.
    """

    kind: ClassVar[str] = "bucket"
    set_later: ClassVar[frozenset[str]] = frozenset(
        {"owner", "private", "attempts_expire", "https_only", "kms_key"}
    )
    private: bool = True
    attempts_expire: bool = True
    https_only: bool = True
    kms_key: str = ""

    def belongs_to(self, asu_id: str | None) -> bool:
        # S3 tags a bucket in a second call, which an interruption can skip. The bucket's name
        # contains "facectl", the ASU ID and the account, so it identifies the owner too.
        return self.owner in (asu_id, None)

    def read(self, context: Context) -> Bucket | None:
        s3 = context.clients.s3
        if unless_missing(s3.get_bucket_location, Bucket=self.name) is None:
            return None
        tags = unless_missing(s3.get_bucket_tagging, Bucket=self.name)
        block = unless_missing(s3.get_public_access_block, Bucket=self.name)
        rules = block["PublicAccessBlockConfiguration"] if block else {}
        private = all(rules.get(rule) is True for rule in PRIVATE)
        owner = owner_tag(tags["TagSet"] if tags else ())
        return Bucket(
            name=self.name,
            owner=owner,
            private=private,
            attempts_expire=EXPIRY in self._lifecycle(context),
            https_only=self.refusal(context.account) in self._statements(context),
            kms_key=self._key(context),
        )

    def create(self, context: Context) -> None:
        region, s3 = context.account.region, context.clients.s3
        if region == _UNNAMED_REGION:
            context.call(s3.create_bucket, Bucket=self.name)
        else:
            place: BucketLocationConstraintType = region  # type: ignore[assignment]
            where: CreateBucketConfigurationTypeDef = {"LocationConstraint": place}
            context.call(s3.create_bucket, Bucket=self.name, CreateBucketConfiguration=where)
        self._configure(context)
        if self.kms_key:
            self._encrypt(context)

    def update(self, context: Context, actual: Bucket) -> None:
        self._configure(context)
        if self.kms_key != actual.kms_key:
            self._encrypt(context)

    def delete(self, context: Context) -> None:
        s3 = context.clients.s3
        if unless_missing(s3.get_bucket_location, Bucket=self.name) is None:
            return
        # An invocation that still runs may write an object after the last listing.
        context.retry(lambda: self._empty_and_delete(context))
        forgetting.bucket_gone(context.clients.deployment.asu_id, self.name)

    def _empty_and_delete(self, context: Context) -> None:
        s3 = context.clients.s3
        # If versioning was enabled by hand, delete every version.
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=self.name):
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if not objects:
                continue
            deleted: DeleteTypeDef = {"Objects": objects, "Quiet": True}
            answer = context.call(s3.delete_objects, Bucket=self.name, Delete=deleted)
            # S3 answers 200 and names the objects that it did not delete.
            for refused in answer.get("Errors", []):
                raise CloudError(
                    f"{refused.get('Key')} in {self.name} can't be deleted: "
                    f"{refused.get('Code')}: {refused.get('Message')}",
                    hint="facectl destroy   continues",
                )
        unless_missing(s3.delete_bucket, Bucket=self.name)

    def facts(self, context: Context) -> dict[str, Any]:
        return publish.facts(context.clients)

    def _configure(self, context: Context) -> None:
        s3 = context.clients.s3
        # PutBucketTagging replaces all tags, so pass the other tags too.
        answer = unless_missing(s3.get_bucket_tagging, Bucket=self.name)
        others = [tag for tag in answer["TagSet"] if tag["Key"] != TAG_KEY] if answer else []
        tags = [*others, *tag_list(self.owner)]
        context.call(s3.put_bucket_tagging, Bucket=self.name, Tagging={"TagSet": tags})
        context.call(
            s3.put_public_access_block, Bucket=self.name, PublicAccessBlockConfiguration=PRIVATE
        )
        # PutBucketLifecycleConfiguration replaces all rules too.
        rules = [rule for rule in self._lifecycle(context) if rule.get("ID") != EXPIRY["ID"]]
        context.call(
            s3.put_bucket_lifecycle_configuration,
            Bucket=self.name,
            LifecycleConfiguration={"Rules": [*rules, EXPIRY]},
        )
        if self.https_only:
            refusal = self.refusal(context.account)
            kept = [each for each in self._statements(context) if each.get("Sid") != refusal["Sid"]]
            document = policy(*kept, refusal)
            context.call(s3.put_bucket_policy, Bucket=self.name, Policy=document)

    def _encrypt(self, context: Context) -> None:
        """Encrypt the objects with this key, and those that will be written."""
        s3 = context.clients.s3
        algorithm: Any = {"ServerSideEncryption": "aws:kms" if self.kms_key else "AES256"}
        if self.kms_key:
            algorithm |= {"SSEKMSKeyId": self.kms_key, "BucketKeyEnabled": True}
        # The functions may use the new key only. The default changes last, so that the next
        # deploy continues after an interruption.
        copy: Callable[..., Any] = s3.copy_object
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.name):
            for item in page.get("Contents", []):
                place = {"Bucket": self.name, "Key": item["Key"]}
                options: Any = {**place, **algorithm, "CopySource": place}
                context.call(unless_missing, copy, **options)
        context.call(
            s3.put_bucket_encryption,
            Bucket=self.name,
            ServerSideEncryptionConfiguration={"Rules": [self.encryption()]},
        )

    def encryption(self) -> Any:
        """The rule that encrypts new objects, as S3's API takes it."""
        default = {"SSEAlgorithm": "aws:kms" if self.kms_key else "AES256"}
        if self.kms_key:
            default["KMSMasterKeyID"] = self.kms_key
        # With a bucket key there are fewer calls of KMS: one key for many objects.
        return {
            "ApplyServerSideEncryptionByDefault": default,
            "BucketKeyEnabled": bool(self.kms_key),
        }

    def _key(self, context: Context) -> str:
        """The ARN of the key that encrypts new objects; empty for a key of S3."""
        answer = unless_missing(context.clients.s3.get_bucket_encryption, Bucket=self.name)
        rules = answer["ServerSideEncryptionConfiguration"]["Rules"] if answer else []
        defaults = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules]
        return next((each.get("KMSMasterKeyID", "") for each in defaults), "")

    def refusal(self, account: Account) -> dict[str, Any]:
        """The statement that denies calls without TLS."""
        arn = account.bucket_arn(self.name)
        return refuse_plain_http("s3:*", arn, f"{arn}/*")

    def _statements(self, context: Context) -> list[dict[str, Any]]:
        """The statements of the bucket's policy."""
        answer = unless_missing(context.clients.s3.get_bucket_policy, Bucket=self.name)
        found = json.loads(answer["Policy"])["Statement"] if answer else []
        return found if isinstance(found, list) else [found]

    def _lifecycle(self, context: Context) -> list[LifecycleRuleOutputTypeDef]:
        """The lifecycle rules of the bucket, all with a filter."""
        s3 = context.clients.s3
        answer = unless_missing(s3.get_bucket_lifecycle_configuration, Bucket=self.name)
        return [_with_filter(rule) for rule in answer["Rules"]] if answer else []


def _with_filter(rule: LifecycleRuleOutputTypeDef) -> LifecycleRuleOutputTypeDef:
    """A rule in S3's newer form: one call does not take both.

    CloudFormation and old tools write the prefix beside the filter's place.
    """
    if "Prefix" not in rule:
        return rule
    found = rule.copy()
    found["Filter"] = {"Prefix": found.pop("Prefix")}
    return found


def desired(state: DesiredState) -> Iterator[Bucket]:
    """One bucket."""
    names, account = state.names, state.account
    name = names.bucket(account.number, account.region)
    yield Bucket(name, names.asu_id, https_only=state.cloud.https_only, kms_key=state.kms_key)

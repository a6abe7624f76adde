"""Writes the bucket, the queues and the log groups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from facectl.aws import unless_missing
from facectl.deploy.models import Bucket, LogGroup, Queue
from facectl.deploy.writers.base import Writer, tags
from facectl.gallery import forgetting
from facectl.naming import TAG_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef, TagTypeDef
    from mypy_boto3_sqs.literals import QueueAttributeNameType

# S3 rejects this region as a LocationConstraint.
_UNNAMED_REGION = "us-east-1"


class BucketWriter(Writer[Bucket]):
    """The bucket of the gallery."""

    def create(self, desired: Bucket) -> None:
        region = self.context.account.region
        s3 = self.context.clients.s3
        if region == _UNNAMED_REGION:
            s3.create_bucket(Bucket=desired.name)
        else:
            place: BucketLocationConstraintType = region  # type: ignore[assignment]
            s3.create_bucket(
                Bucket=desired.name, CreateBucketConfiguration={"LocationConstraint": place}
            )
        self._configure(desired)

    def update(self, desired: Bucket, _found: Bucket) -> None:
        self._configure(desired)

    def delete(self, actual: Bucket) -> None:
        s3 = self.context.clients.s3
        if unless_missing(s3.get_bucket_location, Bucket=actual.name) is None:
            return
        # If versioning was enabled by hand, delete every version.
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=actual.name):
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if objects:
                s3.delete_objects(Bucket=actual.name, Delete={"Objects": objects, "Quiet": True})
        unless_missing(s3.delete_bucket, Bucket=actual.name)
        forgetting.bucket_gone(self.context.clients.deployment.asu_id, actual.name)

    def _configure(self, desired: Bucket) -> None:
        s3 = self.context.clients.s3
        # PutBucketTagging replaces all tags, so pass the other tags too.
        answer = unless_missing(s3.get_bucket_tagging, Bucket=desired.name)
        kept = [tag for tag in answer["TagSet"] if tag["Key"] != TAG_KEY] if answer else []
        own: list[TagTypeDef] = [
            {"Key": name, "Value": value} for name, value in tags(desired.owner).items()
        ]
        s3.put_bucket_tagging(Bucket=desired.name, Tagging={"TagSet": [*kept, *own]})
        s3.put_public_access_block(
            Bucket=desired.name,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )


class QueueWriter(Writer[Queue]):
    """The three queues."""

    def create(self, desired: Queue) -> None:
        self.context.retry(
            lambda: self.context.clients.sqs.create_queue(
                QueueName=desired.name,
                Attributes={k: v for k, v in _attributes(desired).items() if v},
                tags=tags(desired.owner),
            )
        )

    def update(self, desired: Queue, actual: Queue) -> None:
        sqs = self.context.clients.sqs
        url = self.context.account.queue_url(desired.name)
        before = _attributes(actual)
        after = _attributes(desired)
        if after != before:
            # An empty string removes an attribute; omit it if the attribute is not set.
            changed = {name: value for name, value in after.items() if value or before[name]}
            sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)
        if desired.owner != actual.owner:
            sqs.tag_queue(QueueUrl=url, Tags=tags(desired.owner))

    def delete(self, actual: Queue) -> None:
        url = self.context.account.queue_url(actual.name)
        unless_missing(self.context.clients.sqs.delete_queue, QueueUrl=url)


class LogGroupWriter(Writer[LogGroup]):
    """The functions' log groups."""

    def create(self, desired: LogGroup) -> None:
        logs = self.context.clients.logs
        logs.create_log_group(logGroupName=desired.name, tags=tags(desired.owner))
        logs.put_retention_policy(logGroupName=desired.name, retentionInDays=desired.retention_days)

    def update(self, desired: LogGroup, actual: LogGroup) -> None:
        logs = self.context.clients.logs
        logs.put_retention_policy(logGroupName=desired.name, retentionInDays=desired.retention_days)
        if desired.owner != actual.owner:
            arn = self.context.account.log_group_arn(desired.name)
            logs.tag_resource(resourceArn=arn, tags=tags(desired.owner))

    def delete(self, actual: LogGroup) -> None:
        unless_missing(self.context.clients.logs.delete_log_group, logGroupName=actual.name)


def _attributes(queue: Queue) -> dict[QueueAttributeNameType, str]:
    redrive = ""
    if queue.dead_letters_to:
        redrive = json.dumps(
            {"deadLetterTargetArn": queue.dead_letters_to, "maxReceiveCount": queue.max_receives}
        )
    return {
        "VisibilityTimeout": str(queue.visibility_timeout),
        "MessageRetentionPeriod": str(queue.retention),
        "ReceiveMessageWaitTimeSeconds": str(queue.receive_wait),
        "SqsManagedSseEnabled": "true" if queue.encrypted else "false",
        "RedrivePolicy": redrive,
        "Policy": queue.policy,
    }

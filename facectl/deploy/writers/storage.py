"""The bucket, the queues, the log groups."""

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

# S3's oldest region is the one that must not be named.
_UNNAMED_REGION = "us-east-1"


class BucketWriter(Writer[Bucket]):
    """The bucket of the gallery."""

    def create(self, wanted: Bucket) -> None:
        region = self.context.account.region
        s3 = self.context.clients.s3
        if region == _UNNAMED_REGION:
            s3.create_bucket(Bucket=wanted.name)
        else:
            place: BucketLocationConstraintType = region  # type: ignore[assignment]
            s3.create_bucket(
                Bucket=wanted.name, CreateBucketConfiguration={"LocationConstraint": place}
            )
        self._configure(wanted)

    def update(self, wanted: Bucket, _found: Bucket) -> None:
        self._configure(wanted)

    def delete(self, found: Bucket) -> None:
        s3 = self.context.clients.s3
        if unless_missing(s3.get_bucket_location, Bucket=found.name) is None:
            return
        # Of a bucket whose versioning somebody switched on, every version goes.
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=found.name):
            objects: list[ObjectIdentifierTypeDef] = [
                {"Key": item["Key"], "VersionId": item["VersionId"]}
                for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))
            ]
            if objects:
                s3.delete_objects(Bucket=found.name, Delete={"Objects": objects, "Quiet": True})
        unless_missing(s3.delete_bucket, Bucket=found.name)
        forgetting.bucket_gone(self.context.clients.deployment.asu_id, found.name)

    def _configure(self, wanted: Bucket) -> None:
        s3 = self.context.clients.s3
        # Put, not merged: other tags are kept by hand.
        answer = unless_missing(s3.get_bucket_tagging, Bucket=wanted.name)
        kept = [tag for tag in answer["TagSet"] if tag["Key"] != TAG_KEY] if answer else []
        own: list[TagTypeDef] = [
            {"Key": name, "Value": value} for name, value in tags(wanted.owner).items()
        ]
        s3.put_bucket_tagging(Bucket=wanted.name, Tagging={"TagSet": [*kept, *own]})
        s3.put_public_access_block(
            Bucket=wanted.name,
            PublicAccessBlockConfiguration={
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        )


class QueueWriter(Writer[Queue]):
    """The three queues."""

    def create(self, wanted: Queue) -> None:
        self.context.retrying(
            lambda: self.context.clients.sqs.create_queue(
                QueueName=wanted.name,
                Attributes={k: v for k, v in _attributes(wanted).items() if v},
                tags=tags(wanted.owner),
            )
        )

    def update(self, wanted: Queue, found: Queue) -> None:
        sqs = self.context.clients.sqs
        url = self.context.account.queue_url(wanted.name)
        before = _attributes(found)
        after = _attributes(wanted)
        if after != before:
            # An empty text removes an attribute, and need not be said of one that is not there.
            told = {name: value for name, value in after.items() if value or before[name]}
            sqs.set_queue_attributes(QueueUrl=url, Attributes=told)
        if wanted.owner != found.owner:
            sqs.tag_queue(QueueUrl=url, Tags=tags(wanted.owner))

    def delete(self, found: Queue) -> None:
        url = self.context.account.queue_url(found.name)
        unless_missing(self.context.clients.sqs.delete_queue, QueueUrl=url)


class LogGroupWriter(Writer[LogGroup]):
    """The functions' log groups."""

    def create(self, wanted: LogGroup) -> None:
        logs = self.context.clients.logs
        logs.create_log_group(logGroupName=wanted.name, tags=tags(wanted.owner))
        logs.put_retention_policy(logGroupName=wanted.name, retentionInDays=wanted.retention_days)

    def update(self, wanted: LogGroup, found: LogGroup) -> None:
        logs = self.context.clients.logs
        logs.put_retention_policy(logGroupName=wanted.name, retentionInDays=wanted.retention_days)
        if wanted.owner != found.owner:
            arn = self.context.account.log_group_arn(wanted.name)
            logs.tag_resource(resourceArn=arn, tags=tags(wanted.owner))

    def delete(self, found: LogGroup) -> None:
        unless_missing(self.context.clients.logs.delete_log_group, logGroupName=found.name)


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

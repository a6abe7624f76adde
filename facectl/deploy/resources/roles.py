"""The execution roles of the functions, and their policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from facectl.aws import unless_missing
from facectl.deploy.models import Account, DesiredState
from facectl.deploy.resources.base import Context, Tagged, canonical, owner_tag, policy, tag_list
from facectl.naming import DETECTION_FUNCTION, RECOGNITION_FUNCTION, Names
from lambda_src.gallery.parts import ROOT
from lambda_src.stages.attempts import PREFIX as ATTEMPTS

POLICY_NAME = "facectl"
DESCRIPTION = "Made by facectl"


@dataclass(frozen=True, slots=True)
class Role(Tagged):
    """A function's execution role: trust policy and inline policy, JSON with sorted keys.

    `boundary`: the ARN of its permissions boundary, or empty.
    """

    kind: ClassVar[str] = "role"
    set_later: ClassVar[frozenset[str]] = frozenset({"policy"})
    trust: str
    policy: str
    boundary: str = ""

    def read(self, context: Context) -> Role | None:
        iam = context.clients.iam
        answer = unless_missing(iam.get_role, RoleName=self.name)
        if answer is None:
            return None
        role = answer["Role"]
        inline = unless_missing(iam.get_role_policy, RoleName=self.name, PolicyName=POLICY_NAME)
        return Role(
            name=self.name,
            owner=owner_tag(role.get("Tags", [])),
            trust=canonical(role["AssumeRolePolicyDocument"]),
            policy=canonical(inline["PolicyDocument"]) if inline else "",
            boundary=role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", ""),
        )

    def create(self, context: Context) -> None:
        boundary: Any = {"PermissionsBoundary": self.boundary} if self.boundary else {}
        context.call(
            context.clients.iam.create_role,
            RoleName=self.name,
            AssumeRolePolicyDocument=self.trust,
            Description=DESCRIPTION,
            Tags=tag_list(self.owner),
            **boundary,
        )
        self._put_policy(context)

    def update(self, context: Context, actual: Role) -> None:
        iam = context.clients.iam
        if self.trust != actual.trust:
            context.call(
                iam.update_assume_role_policy, RoleName=self.name, PolicyDocument=self.trust
            )
        # Before the policy: somebody may be allowed to change the policies of bound roles only.
        if self.boundary != actual.boundary:
            self._bind(context)
        if self.policy != actual.policy:
            self._put_policy(context)
        if self.owner != actual.owner:
            context.call(iam.tag_role, RoleName=self.name, Tags=tag_list(self.owner))

    def delete(self, context: Context) -> None:
        iam = context.clients.iam
        name = self.name
        context.call(unless_missing, iam.delete_role_policy, RoleName=name, PolicyName=POLICY_NAME)
        context.call(unless_missing, iam.delete_role, RoleName=name)

    def _bind(self, context: Context) -> None:
        iam = context.clients.iam
        if self.boundary:
            bind = iam.put_role_permissions_boundary
            context.call(bind, RoleName=self.name, PermissionsBoundary=self.boundary)
        else:
            context.call(iam.delete_role_permissions_boundary, RoleName=self.name)

    def _put_policy(self, context: Context) -> None:
        context.call(
            context.clients.iam.put_role_policy,
            RoleName=self.name,
            PolicyName=POLICY_NAME,
            PolicyDocument=self.policy,
        )


def desired(state: DesiredState) -> Iterator[Role]:
    """One role for each function; none if an existing role was given."""
    if state.role_arn:
        return
    names, account, trust = state.names, state.account, lambda_trust()
    detection = detection_policy(names, account)
    recognition = recognition_policy(names, account, batches_by_name=state.cloud.batches_by_name)
    if state.kms_key:
        detection, recognition = (
            _with_key(each, state.kms_key) for each in (detection, recognition)
        )
    boundary = state.boundary or ""
    yield Role(names.detection_role, names.asu_id, trust, detection, boundary)
    yield Role(names.recognition_role, names.asu_id, trust, recognition, boundary)


def lambda_trust() -> str:
    """The trust policy with which only Lambda may assume a role."""
    return policy(
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    )


def detection_policy(names: Names, account: Account) -> str:
    """The policy of face-detection: write its log and send to the queues.

    It sends to the response queue, or a reply queue, because it answers frames without a face.
    """
    return policy(
        _logging(DETECTION_FUNCTION, account),
        {
            "Sid": "SendFacesAndAnswers",
            "Effect": "Allow",
            "Action": "sqs:SendMessage",
            "Resource": [
                account.queue_arn(names.request_queue),
                account.queue_arn(names.response_queue),
                account.queue_arn(names.reply_queues),
            ],
        },
    )


def recognition_policy(names: Names, account: Account, *, batches_by_name: bool = False) -> str:
    """The policy of face-recognition: read the request queue and the gallery, send responses.

    `batches_by_name`: MiniStack requires the action SendMessageBatch; AWS includes
    it in SendMessage.
    """
    sending = ["sqs:SendMessage", "sqs:SendMessageBatch"] if batches_by_name else "sqs:SendMessage"
    bucket = account.bucket_arn(names.bucket(account.number, account.region))
    return policy(
        _logging(RECOGNITION_FUNCTION, account),
        {
            "Sid": "TakeFaces",
            "Effect": "Allow",
            "Action": [
                "sqs:ReceiveMessage",
                "sqs:DeleteMessage",
                "sqs:ChangeMessageVisibility",
                "sqs:GetQueueAttributes",
            ],
            "Resource": account.queue_arn(names.request_queue),
        },
        {
            "Sid": "SendAnswers",
            "Effect": "Allow",
            "Action": sending,
            "Resource": [
                account.queue_arn(names.response_queue),
                account.queue_arn(names.reply_queues),
            ],
        },
        {
            "Sid": "ReadGallery",
            "Effect": "Allow",
            "Action": "s3:GetObject",
            # The manifest and parts of every space, so that a new model needs no new policy.
            # No slash before them: facectl 1 has one gallery directly below the root, which
            # its functions read until their code is replaced.
            "Resource": [f"{bucket}/{ROOT}/*current.json", f"{bucket}/{ROOT}/*parts/*"],
        },
        {
            "Sid": "RecordAttempts",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
            "Resource": f"{bucket}/{ATTEMPTS}*",
        },
        # Without it S3 answers 403 instead of 404 while the gallery is empty.
        {
            "Sid": "KnowThatThereIsNone",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket,
        },
    )


def _with_key(document: str, key: str) -> str:
    """A policy that also allows using the key of the queues and the bucket.

    Source: SQS Developer Guide, "Key management": a producer needs both actions, a consumer
    Decrypt. S3 needs GenerateDataKey to write an object, Decrypt to read it.
    """
    statement = {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": key,
    }
    return policy(*json.loads(document)["Statement"], statement)


def _logging(function: str, account: Account) -> dict[str, Any]:
    return {
        "Sid": "WriteLog",
        "Effect": "Allow",
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": f"{account.log_group_arn(Names.log_group(function))}:*",
    }

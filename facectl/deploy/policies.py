"""The least-privilege IAM policies of a deployer, a sender, an edge computer and a reader.

A policy allows the actions of `facectl/deploy/permissions.py`, each on the resources that the
deployment has. Source of the resource types and condition keys: AWS Service Authorization
Reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from facectl.deploy.models import Account
from facectl.deploy.permissions import (
    actions,
    alarm_actions,
    edge_actions,
    reading_actions,
    sending_actions,
)
from facectl.naming import DEPLOYMENTS, DETECTION_FUNCTION, FUNCTIONS, RECOGNITION_FUNCTION, Names
from lambda_src.gallery.parts import ROOT

# `alarms`: what a deployer needs for `--alarms` besides. One policy would be too long for IAM.
Person = Literal["deployer", "sender", "edge", "reader", "alarms"]
PEOPLE: tuple[Person, ...] = get_args(Person)

_ALL = ("*",)
_UNBIND = "iam:DeleteRolePermissionsBoundary"
_OBJECT_ACTIONS = ("GetObject", "PutObject", "DeleteObject", "DeleteObjectVersion")
_ACCOUNT_WIDE = {
    # Not on one alarm: the answer is a list.
    "cloudwatch:DescribeAlarms",
    "ecr:GetAuthorizationToken",
    "iam:SimulatePrincipalPolicy",
    "lambda:GetAccountSettings",
    "lambda:ListEventSourceMappings",
    "logs:DescribeLogGroups",
    "sns:Unsubscribe",
    "sqs:ListQueues",
}
_TAGGING = {"lambda:ListTags", "lambda:TagResource", "lambda:UntagResource"}


@dataclass(frozen=True, slots=True)
class Scope:
    """The deployment that a policy is for.

    `role_arn`: the existing role of the functions; None if roles are created, with the
    permissions boundary `boundary`, if any.
    `kms_key`: the ARN of the key of queues, bucket and log groups, or empty.
    """

    names: Names
    account: Account
    role_arn: str | None = None
    boundary: str | None = None
    kms_key: str = ""


@dataclass(frozen=True, slots=True)
class Grant:
    """Actions allowed on resources; `context` has the condition keys with the values needed."""

    sid: str
    resources: tuple[str, ...]
    context: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    actions: tuple[str, ...] = ()

    @property
    def statement(self) -> dict[str, Any]:
        """The statement of an IAM policy."""
        condition = {"ArnLike" if "arn:" in values[0] else "StringEquals": {key: _one(values)}
                     for key, values in self.context.items()}  # fmt: skip
        return {
            "Sid": self.sid,
            "Effect": "Allow",
            "Action": list(self.actions),
            "Resource": _one(self.resources),
            **({"Condition": condition} if condition else {}),
        }


def policy_of(person: Person, scope: Scope) -> dict[str, Any]:
    """The IAM policy of a person as a JSON document."""
    return {
        "Version": "2012-10-17",
        "Statement": [grant.statement for grant in grants(person, scope)],
    }


def grants(person: Person, scope: Scope) -> tuple[Grant, ...]:
    """What a person needs, grouped by resources."""
    found = _grants(person, scope)
    if not scope.kms_key or person == "alarms":
        return found
    # Who receives a message or reads an object decrypts it, who writes one needs a data key.
    writing = ("kms:GenerateDataKey",) if person in ("deployer", "edge") else ()
    return (*found, Grant("Key", (scope.kms_key,), actions=("kms:Decrypt", *writing)))


def _grants(person: Person, scope: Scope) -> tuple[Grant, ...]:
    if person == "deployer":
        names = actions(makes_roles=scope.role_arn is None)
        # Who may remove the boundary is not bound by it.
        kept = [name for name in names if not (scope.boundary and name == _UNBIND)]
        return _grouped(kept, scope, _deployer)
    if person == "alarms":
        return _grouped(alarm_actions(), scope, _deployer)
    if person == "sender":
        return _grouped(sending_actions(), scope, _sender)
    if person == "edge":
        return _grouped(edge_actions(), scope, _sender)
    return _grouped(reading_actions(), scope, _reader)


def _grouped(names: Iterable[str], scope: Scope, place: Any) -> tuple[Grant, ...]:
    found: dict[str, Grant] = {}
    for name in names:
        grant = _ACCOUNT if name in _ACCOUNT_WIDE else place(name, scope)
        known = found.get(grant.sid, grant)
        found[grant.sid] = replace(known, actions=(*known.actions, name))
    return tuple(found[sid] for sid in sorted(found))


_ACCOUNT = Grant("Account", _ALL)


def _deployer(action: str, scope: Scope) -> Grant:
    service, _, name = action.partition(":")
    if service == "lambda":
        return _lambda(action, scope)
    if service == "iam":
        return _iam(name, scope)
    if service in ("budgets", "cloudwatch", "sns"):
        return _alarms(service, name, scope)
    return _of_service(service, name, scope)


def _sender(action: str, scope: Scope) -> Grant:
    service, _, name = action.partition(":")
    names, account = scope.names, scope.account
    if service == "lambda":
        function = account.function_arn(DETECTION_FUNCTION)
        return Grant("FunctionUrl", (function, f"{function}:*"))
    if name in ("GetQueueAttributes", "GetQueueUrl", "PurgeQueue"):
        return _of_service(service, name, scope)
    if name == "SendMessage":
        return Grant("Requests", (account.queue_arn(names.request_queue),))
    replies = account.queue_arn(names.reply_queues)
    if name in ("CreateQueue", "DeleteQueue", "ListQueueTags", "TagQueue"):
        return Grant("ReplyQueues", (replies,))
    return Grant("Responses", (account.queue_arn(names.response_queue), replies))


def _reader(action: str, scope: Scope) -> Grant:
    if action in ("sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"):
        dead_letters = scope.account.queue_arn(scope.names.dead_letter_queue)
        return Grant("DeadLetters", (dead_letters,))
    if action == "s3:GetObject":
        # Its version, not its parts: they hold the embeddings. And the recorded deploys.
        bucket = _bucket(scope)
        versions = (f"{bucket}/{ROOT}/*current.json", f"{bucket}/{DEPLOYMENTS}*.json")
        return Grant("Versions", versions)
    if action == "s3:ListBucketVersions":
        return Grant("Bucket", (_bucket(scope),))
    return _deployer(action, scope)


def _lambda(action: str, scope: Scope) -> Grant:
    functions = _functions(scope)
    if action.endswith("EventSourceMapping"):
        recognition = scope.account.function_arn(RECOGNITION_FUNCTION)
        where = {"lambda:FunctionArn": (recognition, f"{recognition}:*")}
        return Grant("Trigger", _ALL, where)
    if action in _TAGGING:
        return Grant("LambdaTags", (*functions, scope.account.mapping_arn("*")))
    return Grant("Functions", functions)


def _iam(name: str, scope: Scope) -> Grant:
    roles = _roles(scope)
    if name == "PassRole":
        return Grant("PassRole", roles, {"iam:PassedToService": ("lambda.amazonaws.com",)})
    if scope.boundary and name in ("CreateRole", "PutRolePermissionsBoundary", "PutRolePolicy"):
        return Grant("BoundRoles", roles, {"iam:PermissionsBoundary": (scope.boundary,)})
    return Grant("Roles", roles)


def _of_service(service: str, name: str, scope: Scope) -> Grant:
    names, account = scope.names, scope.account
    if service == "sqs":
        queues = (
            names.request_queue,
            names.response_queue,
            names.dead_letter_queue,
            names.reply_queues,
        )
        return Grant("Queues", tuple(map(account.queue_arn, queues)))
    if service == "logs":
        groups = [account.log_group_arn(Names.log_group(function)) for function in FUNCTIONS]
        return Grant("Logs", (*groups, *(f"{group}:*" for group in groups)))
    if service == "ecr":
        return Grant("Images", tuple(map(account.repository_arn, FUNCTIONS)))
    if name in _OBJECT_ACTIONS:
        return Grant("Gallery", (f"{_bucket(scope)}/*",))
    return Grant("Bucket", (_bucket(scope),))


def _alarms(service: str, name: str, scope: Scope) -> Grant:
    names, account = scope.names, scope.account
    if service == "sns":
        return Grant("Topic", (account.topic_arn(names.alarm_topic),))
    title = names.of_region(account.region)
    if service == "budgets":
        return Grant("Budget", (account.budget_arn(title),))
    if "Dashboard" in name:
        return Grant("Dashboard", (account.dashboard_arn(title),))
    return Grant("Alarms", (account.alarm_arn(names.alarm("*")),))


def _functions(scope: Scope) -> tuple[str, ...]:
    arns = [scope.account.function_arn(function) for function in FUNCTIONS]
    # Versions and aliases.
    return (*arns, *(f"{arn}:*" for arn in arns))


def _roles(scope: Scope) -> tuple[str, ...]:
    if scope.role_arn is not None:
        return (scope.role_arn,)
    names = scope.names
    return tuple(map(scope.account.role_arn, (names.detection_role, names.recognition_role)))


def _bucket(scope: Scope) -> str:
    account = scope.account
    return account.bucket_arn(scope.names.bucket(account.number, account.region))


def _one(values: tuple[str, ...]) -> str | list[str]:
    return values[0] if len(values) == 1 else list(values)

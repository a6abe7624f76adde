"""The IAM actions that deploying and removing, sending, and reading need.

`OPERATIONS`, `SENDING` and `READING` are the calls that the code makes, as botocore names
them; tests record what is called and compare. Most actions have their operation's name.
Source of the exceptions: AWS Service Authorization Reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# By service, as IAM names it.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "budgets": (
        "CreateBudget",
        "DeleteBudget",
        "DescribeBudget",
        "DescribeNotificationsForBudget",
        "DescribeSubscribersForNotification",
    ),
    "cloudwatch": (
        "DeleteAlarms",
        "DeleteDashboards",
        "DescribeAlarms",
        "GetDashboard",
        "ListTagsForResource",
        "PutDashboard",
        "PutMetricAlarm",
        "TagResource",
    ),
    "ecr": (
        "BatchDeleteImage",
        "BatchGetImage",
        "CreateRepository",
        "DeleteRepository",
        "DescribeImages",
        "DescribeRepositories",
        "GetAuthorizationToken",
        "GetDownloadUrlForLayer",
        "GetLifecyclePolicy",
        "GetRepositoryPolicy",
        "ListTagsForResource",
        "PutImageScanningConfiguration",
        "PutImageTagMutability",
        "PutLifecyclePolicy",
        "SetRepositoryPolicy",
        "TagResource",
    ),
    "iam": (
        "CreateRole",
        "DeleteRole",
        "DeleteRolePermissionsBoundary",
        "DeleteRolePolicy",
        "GetRole",
        "GetRolePolicy",
        "PutRolePermissionsBoundary",
        "PutRolePolicy",
        "SimulatePrincipalPolicy",
        "TagRole",
        "UpdateAssumeRolePolicy",
    ),
    "lambda": (
        "AddPermission",
        "CreateAlias",
        "CreateEventSourceMapping",
        "CreateFunction",
        "CreateFunctionUrlConfig",
        "DeleteAlias",
        "DeleteEventSourceMapping",
        "DeleteFunction",
        "DeleteFunctionConcurrency",
        "DeleteFunctionUrlConfig",
        "DeleteProvisionedConcurrencyConfig",
        "GetAccountSettings",
        "GetAlias",
        "GetFunction",
        "GetFunctionConcurrency",
        "GetFunctionConfiguration",
        "GetFunctionUrlConfig",
        "GetPolicy",
        "GetProvisionedConcurrencyConfig",
        "ListEventSourceMappings",
        "ListTags",
        "PublishVersion",
        "PutFunctionConcurrency",
        "PutProvisionedConcurrencyConfig",
        "RemovePermission",
        "TagResource",
        "UntagResource",
        "UpdateAlias",
        "UpdateEventSourceMapping",
        "UpdateFunctionCode",
        "UpdateFunctionConfiguration",
        "UpdateFunctionUrlConfig",
    ),
    "logs": (
        "AssociateKmsKey",
        "CreateLogGroup",
        "DeleteLogGroup",
        "DescribeLogGroups",
        "DisassociateKmsKey",
        "FilterLogEvents",
        "ListTagsForResource",
        "PutRetentionPolicy",
        "TagResource",
    ),
    "s3": (
        "CopyObject",
        "CreateBucket",
        "DeleteBucket",
        "DeleteObjects",
        "GetBucketEncryption",
        "GetBucketLifecycleConfiguration",
        "GetBucketLocation",
        "GetBucketPolicy",
        "GetBucketTagging",
        "GetBucketVersioning",
        "GetObject",
        "GetPublicAccessBlock",
        "HeadObject",
        "ListObjectVersions",
        "ListObjectsV2",
        "PutBucketEncryption",
        "PutBucketLifecycleConfiguration",
        "PutBucketPolicy",
        "PutBucketTagging",
        "PutObject",
        "PutPublicAccessBlock",
    ),
    "sns": (
        "CreateTopic",
        "DeleteTopic",
        "ListSubscriptionsByTopic",
        "ListTagsForResource",
        "Subscribe",
        "TagResource",
        "Unsubscribe",
    ),
    "sqs": (
        "ChangeMessageVisibilityBatch",
        "CreateQueue",
        "DeleteMessageBatch",
        "DeleteQueue",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListQueueTags",
        "ListQueues",
        "ReceiveMessage",
        "SendMessage",
        "SetQueueAttributes",
        "TagQueue",
    ),
}
# The calls of `facectl send`, `tail` and `purge`.
SENDING: dict[str, tuple[str, ...]] = {
    "lambda": ("GetFunctionUrlConfig",),
    "sqs": (
        "ChangeMessageVisibilityBatch",
        "CreateQueue",
        "DeleteMessageBatch",
        "DeleteQueue",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListQueueTags",
        "ListQueues",
        "PurgeQueue",
        "ReceiveMessage",
        "TagQueue",
    ),
}
_READS = ("Describe", "Filter", "Get", "Head", "List")
# The calls of `facectl status`, `logs`, `trace` and `dlq list`: what a deploy reads, and more.
READING: dict[str, tuple[str, ...]] = {
    service: tuple(name for name in names if name.startswith(_READS))
    for service, names in OPERATIONS.items()
}
READING["ecr"] = tuple(
    name
    for name in READING["ecr"]
    if name not in ("GetAuthorizationToken", "GetDownloadUrlForLayer")
)
READING["logs"] += ("StartLiveTail",)
# A message of a queue can only be read by receiving it.
READING["sqs"] += ("ChangeMessageVisibilityBatch", "ReceiveMessage")
# Operations whose actions differ from their name.
_ACTIONS: dict[str, tuple[str, ...]] = {
    # Created with tags, and functions with a role.
    "cloudwatch:PutMetricAlarm": ("cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"),
    "ecr:CreateRepository": ("ecr:CreateRepository", "ecr:TagResource"),
    "iam:CreateRole": ("iam:CreateRole", "iam:TagRole"),
    "lambda:CreateFunction": ("lambda:CreateFunction", "lambda:TagResource", "iam:PassRole"),
    "lambda:UpdateFunctionConfiguration": ("lambda:UpdateFunctionConfiguration", "iam:PassRole"),
    "lambda:CreateEventSourceMapping": ("lambda:CreateEventSourceMapping", "lambda:TagResource"),
    "logs:CreateLogGroup": ("logs:CreateLogGroup", "logs:TagResource"),
    "sns:CreateTopic": ("sns:CreateTopic", "sns:TagResource"),
    "sqs:CreateQueue": ("sqs:CreateQueue", "sqs:TagQueue"),
    **{f"budgets:{name}": ("budgets:ModifyBudget",) for name in ("CreateBudget", "DeleteBudget")},
    **{
        f"budgets:{name}": ("budgets:ViewBudget",)
        for name in OPERATIONS["budgets"]
        if name.startswith("Describe")
    },
    "s3:CopyObject": ("s3:GetObject", "s3:PutObject"),
    "s3:GetBucketEncryption": ("s3:GetEncryptionConfiguration",),
    "s3:PutBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "s3:DeleteObjects": ("s3:DeleteObject", "s3:DeleteObjectVersion"),
    "s3:GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
    "s3:GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock",),
    "s3:HeadBucket": ("s3:ListBucket",),
    "s3:HeadObject": ("s3:GetObject",),
    "s3:ListObjectVersions": ("s3:ListBucketVersions",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
    "s3:PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration",),
    "s3:PutPublicAccessBlock": ("s3:PutBucketPublicAccessBlock",),
    "sqs:ChangeMessageVisibilityBatch": ("sqs:ChangeMessageVisibility",),
    "sqs:DeleteMessageBatch": ("sqs:DeleteMessage",),
    "sqs:SendMessageBatch": ("sqs:SendMessage",),
}
# The actions with which an image is pushed and Lambda pulls it.
# Source: Amazon ECR User Guide, "IAM permissions for pushing an image".
_PUSH = (
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:CompleteLayerUpload",
    "ecr:GetDownloadUrlForLayer",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
# A request to a Function URL needs both since October 2025 (AWS Lambda Developer Guide,
# "Control access to Lambda function URLs").
_INVOKE = ("lambda:InvokeFunction", "lambda:InvokeFunctionUrl")
# The services of `--alarms`.
_ALARMS = ("budgets:", "cloudwatch:", "sns:")
# For an existing role.
_GIVEN_ROLE = frozenset({"iam:GetRole", "iam:PassRole", "iam:SimulatePrincipalPolicy"})


def actions(*, makes_roles: bool = True) -> tuple[str, ...]:
    """The IAM actions of a deployer, sorted; `makes_roles` false leaves out creating roles."""
    return tuple(
        name
        for name in _actions_of(OPERATIONS, *_PUSH, *_INVOKE)
        if (makes_roles or not name.startswith("iam:") or name in _GIVEN_ROLE)
        and not name.startswith(_ALARMS)
    )


def alarm_actions() -> tuple[str, ...]:
    """The IAM actions that a deployer needs for `--alarms` besides the others, sorted."""
    return tuple(name for name in _actions_of(OPERATIONS) if name.startswith(_ALARMS))


def sending_actions() -> tuple[str, ...]:
    """The IAM actions of somebody who sends frames and receives results, sorted."""
    return _actions_of(SENDING, *_INVOKE)


def edge_actions() -> tuple[str, ...]:
    """The IAM actions of somebody who sends with `--detect edge`, sorted."""
    return _actions_of(SENDING, "sqs:SendMessage")


def reading_actions() -> tuple[str, ...]:
    """The IAM actions of somebody who watches the deployment, sorted."""
    return _actions_of(READING)


def _actions_of(operations: Mapping[str, Iterable[str]], *more: str) -> tuple[str, ...]:
    found = set(more)
    for service, names in operations.items():
        for operation in names:
            name = f"{service}:{operation}"
            found.update(_ACTIONS.get(name, (name,)))
    return tuple(sorted(found))

"""The IAM actions that deploying, monitoring and removing need.

`OPERATIONS` are the calls of facectl/deploy and facectl/gallery as botocore names them;
a test records what is called and compares. Most actions have their operation's name.
Source of the exceptions: AWS Service Authorization Reference.
"""

from __future__ import annotations

# By service, as IAM names it.
OPERATIONS: dict[str, tuple[str, ...]] = {
    "ecr": (
        "BatchDeleteImage",
        "CreateRepository",
        "DeleteRepository",
        "DescribeImages",
        "DescribeRepositories",
        "GetAuthorizationToken",
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
        "DeleteRolePolicy",
        "GetRole",
        "GetRolePolicy",
        "PutRolePolicy",
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
        "CreateLogGroup",
        "DeleteLogGroup",
        "DescribeLogGroups",
        "FilterLogEvents",
        "ListTagsForResource",
        "PutRetentionPolicy",
        "TagResource",
    ),
    "s3": (
        "CreateBucket",
        "DeleteBucket",
        "DeleteObjects",
        "GetBucketLifecycleConfiguration",
        "GetBucketLocation",
        "GetBucketTagging",
        "GetBucketVersioning",
        "GetObject",
        "GetPublicAccessBlock",
        "HeadObject",
        "ListObjectVersions",
        "ListObjectsV2",
        "PutBucketLifecycleConfiguration",
        "PutBucketTagging",
        "PutObject",
        "PutPublicAccessBlock",
    ),
    "sqs": (
        "ChangeMessageVisibilityBatch",
        "CreateQueue",
        "DeleteMessageBatch",
        "DeleteQueue",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListQueueTags",
        "ReceiveMessage",
        "SendMessage",
        "SetQueueAttributes",
        "TagQueue",
    ),
}
# Operations whose actions differ from their name.
_ACTIONS: dict[str, tuple[str, ...]] = {
    # Created with tags, and functions with a role.
    "ecr:CreateRepository": ("ecr:CreateRepository", "ecr:TagResource"),
    "iam:CreateRole": ("iam:CreateRole", "iam:TagRole"),
    "lambda:CreateFunction": ("lambda:CreateFunction", "lambda:TagResource", "iam:PassRole"),
    "lambda:UpdateFunctionConfiguration": ("lambda:UpdateFunctionConfiguration", "iam:PassRole"),
    "lambda:CreateEventSourceMapping": ("lambda:CreateEventSourceMapping", "lambda:TagResource"),
    "logs:CreateLogGroup": ("logs:CreateLogGroup", "logs:TagResource"),
    "sqs:CreateQueue": ("sqs:CreateQueue", "sqs:TagQueue"),
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
# The probe frame calls the Function URL, which needs both since October 2025.
_PROBE = ("lambda:InvokeFunction", "lambda:InvokeFunctionUrl")
# For an existing role.
_GIVEN_ROLE = frozenset({"iam:GetRole", "iam:PassRole"})


def actions(*, makes_roles: bool = True) -> tuple[str, ...]:
    """The IAM actions, sorted; `makes_roles` false leaves out those that create roles."""
    found = {*_PUSH, *_PROBE}
    for service, operations in OPERATIONS.items():
        for operation in operations:
            name = f"{service}:{operation}"
            found.update(_ACTIONS.get(name, (name,)))
    kept = (
        name for name in found if makes_roles or not name.startswith("iam:") or name in _GIVEN_ROLE
    )
    return tuple(sorted(kept))

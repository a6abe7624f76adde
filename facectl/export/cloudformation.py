"""A CloudFormation template of a deployment.

Source of types and properties: AWS CloudFormation Template Reference.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from facectl.deploy.desired import resources
from facectl.deploy.models import Account, DesiredState
from facectl.deploy.resources import (
    Alarm,
    Alias,
    Bucket,
    Budget,
    Dashboard,
    Function,
    FunctionUrl,
    LogGroup,
    Permission,
    Queue,
    Repository,
    Resource,
    Role,
    Subscription,
    Topic,
    Trigger,
)
from facectl.deploy.resources.base import canonical, policy, tag_list
from facectl.deploy.resources.buckets import EXPIRY, PRIVATE
from facectl.deploy.resources.images import lambda_statement
from facectl.deploy.resources.roles import DESCRIPTION, POLICY_NAME
from facectl.deploy.resources.subscriptions import EMAIL_TAG
from facectl.export.state import Dialect, label, mapped, stage
from facectl.naming import FUNCTIONS, TEMPLATE_TAG_KEY

Block: TypeAlias = dict[str, Any]
# A resource's logical ID, and its block.
Blocks: TypeAlias = Iterator[tuple[str, Block]]

IMAGES = {function: f"{stage(function).capitalize()}Image" for function in FUNCTIONS}
_HAVE_IMAGES = "HaveImages"
# These are made when the images are in the repositories.
_NEED_IMAGES = (Function, Alias, FunctionUrl, Permission, Trigger)
_HASH_DIGITS = 16

DIALECT = Dialect(
    Account(
        "${AWS::AccountId}",
        "${AWS::Region}",
        "https://sqs.${AWS::Region}.${AWS::URLSuffix}",
        "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}",
        "${AWS::Partition}",
    ),
    {function: f"${{{parameter}}}" for function, parameter in IMAGES.items()},
)


def template(state: DesiredState, images: Mapping[str, str]) -> Block:
    """The template of a state of `DIALECT`; `images`: the URIs of given images, by function.

    Without given images the parameters are empty at first: the stack then has no functions.
    """
    blocks: dict[str, Block] = {}
    for resource in resources(state):
        for name, block in _TRANSLATIONS.get(type(resource), _nothing)(resource, state):
            if not images and isinstance(resource, _NEED_IMAGES):
                block["Condition"] = _HAVE_IMAGES
            blocks[name] = block
        if isinstance(resource, Subscription):
            # By it `facectl` knows the address that was subscribed.
            tag = {"Key": EMAIL_TAG, "Value": resource.email}
            blocks["AlarmTopic"]["Properties"]["Tags"].append(tag)
    references = _references(state)
    outputs: dict[str, Block] = {
        "FunctionUrl": {"Value": _attribute("DetectionUrl", "FunctionUrl")},
        "RequestQueueUrl": {"Value": {"Ref": "RequestQueue"}},
        "ResponseQueueUrl": {"Value": {"Ref": "ResponseQueue"}},
        "GalleryBucket": {"Value": {"Ref": "GalleryBucket"}},
    }
    conditions = {}
    if not images:
        conditions[_HAVE_IMAGES] = {
            # With one image alone the stack fails, which says more than a stack without functions.
            "Fn::Or": [
                {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, ""]}]}
                for parameter in IMAGES.values()
            ]
        }
        outputs["FunctionUrl"]["Condition"] = _HAVE_IMAGES
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"facectl: the deployment of ASU ID {state.names.asu_id}",
        "Parameters": {
            parameter: {
                "Type": "String",
                "Description": f"URI of the image of {function}"
                + ("" if images else "; empty until it is in the repository"),
                "Default": images.get(function, ""),
            }
            for function, parameter in IMAGES.items()
        },
        **({"Conditions": conditions} if conditions else {}),
        "Resources": {
            name: {
                key: mapped(value, lambda text: _expression(text, references))
                if key == "Properties"
                else value
                for key, value in block.items()
            }
            for name, block in blocks.items()
        },
        "Outputs": outputs,
    }


def _references(state: DesiredState) -> dict[str, Block]:
    """The expressions of resources of the template by what they are equal to.

    CloudFormation makes a resource after those that it refers to.
    """
    names, account = state.names, state.account
    found: dict[str, Block] = {
        DIALECT.images[function]: {"Ref": parameter} for function, parameter in IMAGES.items()
    }
    for resource in resources(state):
        if isinstance(resource, Role):
            found[account.role_arn(resource.name)] = _attribute(_id(resource, state), "Arn")
        elif isinstance(resource, Queue):
            found[account.queue_arn(resource.name)] = _attribute(_id(resource, state), "Arn")
            found[account.queue_url(resource.name)] = {"Ref": _id(resource, state)}
    if state.alarms_email:
        found[account.topic_arn(names.alarm_topic)] = {"Ref": "AlarmTopic"}
    return found


def _expression(text: str, references: Mapping[str, Block]) -> str | Block:
    if text in references:
        return references[text]
    return {"Fn::Sub": text} if "${" in text else text


def _attribute(name: str, attribute: str) -> Block:
    return {"Fn::GetAtt": [name, attribute]}


def _id(resource: Resource, state: DesiredState) -> str:
    """The logical ID of a resource."""
    words = f"{label(resource, state.names)}-{_KINDS[type(resource)]}".split("-")
    return "".join(word[:1].upper() + word[1:] for word in words)


def _named(function: str, kind: type[Resource]) -> str:
    """The logical ID of what is attached to a function."""
    return f"{stage(function).capitalize()}{_KINDS[kind]}"


def _block(kind: str, properties: Mapping[str, Any], depends: list[str] | None = None) -> Block:
    known = {name: value for name, value in properties.items() if value not in ("", None, {})}
    return {
        "Type": kind,
        **({"DependsOn": depends} if depends else {}),
        "Properties": known,
    }


def _nothing(_resource: Any, _state: DesiredState) -> Blocks:
    """No block: images are parameters, and an e-mail address is one of its topic."""
    yield from ()


def _role(role: Role, state: DesiredState) -> Blocks:
    inline = {"PolicyName": POLICY_NAME, "PolicyDocument": json.loads(role.policy)}
    yield _id(role, state), _block("AWS::IAM::Role", {
        "RoleName": role.name,
        "Description": DESCRIPTION,
        "AssumeRolePolicyDocument": json.loads(role.trust),
        "Policies": [inline],
        "PermissionsBoundary": role.boundary,
        "Tags": tag_list(role.owner),
    })  # fmt: skip


def _bucket(bucket: Bucket, state: DesiredState) -> Blocks:
    encryption = bucket.encryption()
    properties: Block = {
        "BucketName": bucket.name,
        "Tags": tag_list(bucket.owner),
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [
                {
                    "ServerSideEncryptionByDefault": encryption[
                        "ApplyServerSideEncryptionByDefault"
                    ],
                    "BucketKeyEnabled": encryption["BucketKeyEnabled"],
                }
            ]
        },
    }
    if bucket.private:
        properties["PublicAccessBlockConfiguration"] = dict(PRIVATE)
    if bucket.attempts_expire:
        properties["LifecycleConfiguration"] = {"Rules": [_lifecycle(EXPIRY)]}
    yield _id(bucket, state), _block("AWS::S3::Bucket", properties)
    if bucket.https_only:
        document = json.loads(policy(bucket.refusal(state.account)))
        yield (
            f"{_id(bucket, state)}Policy",
            _block(
                "AWS::S3::BucketPolicy",
                {"Bucket": {"Ref": _id(bucket, state)}, "PolicyDocument": document},
            ),
        )


def _lifecycle(rule: Mapping[str, Any]) -> Block:
    """A rule of S3's API as CloudFormation names it."""
    return {
        "Id": rule["ID"],
        "Status": rule["Status"],
        "Prefix": rule["Filter"]["Prefix"],
        "ExpirationInDays": rule["Expiration"]["Days"],
        "AbortIncompleteMultipartUpload": rule["AbortIncompleteMultipartUpload"],
    }


def _queue(queue: Queue, state: DesiredState) -> Blocks:
    settings: Any = queue.attributes()
    document, redrive = settings.pop("Policy"), settings.pop("RedrivePolicy")
    properties = {
        name: _plain(value) if name != "KmsMasterKeyId" else value
        for name, value in settings.items()
    }
    yield _id(queue, state), _block("AWS::SQS::Queue", {
        "QueueName": queue.name,
        **properties,
        "RedrivePolicy": json.loads(redrive) if redrive else None,
        "Tags": [*tag_list(queue.owner), {"Key": TEMPLATE_TAG_KEY, "Value": "cloudformation"}],
    })  # fmt: skip
    if document:
        yield (
            f"{_id(queue, state)}Policy",
            _block(
                "AWS::SQS::QueuePolicy",
                {"Queues": [{"Ref": _id(queue, state)}], "PolicyDocument": json.loads(document)},
            ),
        )


def _plain(text: str) -> int | bool:
    """The number or truth value of an attribute: SQS's API takes both as text."""
    value: int | bool = json.loads(text)
    return value


def _log_group(group: LogGroup, state: DesiredState) -> Blocks:
    yield _id(group, state), _block("AWS::Logs::LogGroup", {
        "LogGroupName": group.name,
        "RetentionInDays": group.retention_days,
        "KmsKeyId": group.kms_key,
        "Tags": tag_list(group.owner),
    })  # fmt: skip


def _repository(repository: Repository, state: DesiredState) -> Blocks:
    document = policy(lambda_statement(state.account)) if repository.lambda_pulls else "null"
    yield _id(repository, state), _block("AWS::ECR::Repository", {
        "RepositoryName": repository.name,
        "ImageTagMutability": repository.mutability,
        "ImageScanningConfiguration": {"ScanOnPush": repository.scan_on_push},
        "LifecyclePolicy": {"LifecyclePolicyText": repository.lifecycle_policy},
        "RepositoryPolicyText": json.loads(document),
        "EmptyOnDelete": True,
        "Tags": tag_list(repository.owner),
    })  # fmt: skip


def _function(function: Function, state: DesiredState) -> Blocks:
    # Lambda makes a missing log group itself, without retention.
    log = _named(function.name, LogGroup)
    yield _id(function, state), _block("AWS::Lambda::Function", {
        **function.configuration(),
        "PackageType": "Image",
        "Code": {"ImageUri": function.code},
        "Architectures": [function.architecture],
        "ReservedConcurrentExecutions": function.reserved_concurrency,
        "Tags": [{"Key": name, "Value": value} for name, value in function.all_tags().items()],
    }, [log])  # fmt: skip


def _alias(alias: Alias, state: DesiredState) -> Blocks:
    function = next(
        each
        for each in resources(state)
        if isinstance(each, Function) and each.name == alias.function
    )
    of_function, version = (
        _named(alias.function, Function),
        f"{_named(alias.function, Alias)}Version",
    )
    # A version never changes. Another description is another version: of another image, or of
    # another configuration.
    configuration = canonical({**function.configuration(), "Architecture": function.architecture})
    digits = hashlib.sha256(configuration.encode()).hexdigest()[:_HASH_DIGITS]
    yield (
        version,
        _block(
            "AWS::Lambda::Version",
            {"FunctionName": {"Ref": of_function}, "Description": f"{function.code} {digits}"},
        ),
    )
    warm = {"ProvisionedConcurrentExecutions": alias.provisioned}
    yield _named(alias.function, Alias), _block("AWS::Lambda::Alias", {
        "Name": alias.alias,
        "FunctionName": {"Ref": of_function},
        "FunctionVersion": _attribute(version, "Version"),
        "ProvisionedConcurrencyConfig": warm,
    })  # fmt: skip


def _called(function: str, qualifier: str) -> Block:
    """A function, or its alias."""
    return {"Ref": _named(function, Alias if qualifier else Function)}


def _permission(permission: Permission, _state: DesiredState) -> Blocks:
    words = permission.statement.removesuffix(f"-{permission.qualifier}").split("-")[1:]
    name = "".join(word.capitalize() for word in words)
    yield (
        f"{_named(permission.function, Permission)}{name}",
        _block(
            "AWS::Lambda::Permission",
            {
                "FunctionName": _called(permission.function, permission.qualifier),
                **permission.arguments(),
            },
        ),
    )


def _url(url: FunctionUrl, state: DesiredState) -> Blocks:
    permissions = [
        name
        for each in resources(state)
        if isinstance(each, Permission)
        for name, _ in _permission(each, state)
    ]
    alias = [_named(url.function, Alias)] if url.qualifier else []
    yield _named(url.function, FunctionUrl), _block("AWS::Lambda::Url", {
        "TargetFunctionArn": {"Ref": _named(url.function, Function)},
        "Qualifier": url.qualifier,
        "AuthType": url.auth_type,
    }, [*alias, *permissions])  # fmt: skip


def _trigger(trigger: Trigger, _state: DesiredState) -> Blocks:
    yield _named(trigger.function, Trigger), _block("AWS::Lambda::EventSourceMapping", {
        **trigger.settings(),
        "FunctionName": _called(trigger.function, trigger.qualifier),
        "EventSourceArn": trigger.queue,
        **trigger.limits(),
        "Tags": tag_list(trigger.owner),
    })  # fmt: skip


def _topic(topic: Topic, _state: DesiredState) -> Blocks:
    properties = {"TopicName": topic.name, "Tags": tag_list(topic.owner)}
    yield "AlarmTopic", _block("AWS::SNS::Topic", properties)


def _subscription(subscription: Subscription, _state: DesiredState) -> Blocks:
    yield "AlarmSubscription", _block("AWS::SNS::Subscription", {
        "TopicArn": {"Ref": "AlarmTopic"},
        "Protocol": "email",
        "Endpoint": subscription.email,
    })  # fmt: skip


def _alarm(alarm: Alarm, state: DesiredState) -> Blocks:
    properties = {**alarm.arguments(), "Tags": tag_list(alarm.owner)}
    yield _id(alarm, state), _block("AWS::CloudWatch::Alarm", properties)


def _dashboard(dashboard: Dashboard, _state: DesiredState) -> Blocks:
    yield "Dashboard", _block("AWS::CloudWatch::Dashboard", {
        "DashboardName": dashboard.title,
        "DashboardBody": dashboard.body,
    })  # fmt: skip


def _budget(budget: Budget, _state: DesiredState) -> Blocks:
    settings = budget.arguments()
    limit = settings["Budget"]["BudgetLimit"]
    settings["Budget"]["BudgetLimit"] = {**limit, "Amount": budget.limit}
    yield "Budget", _block("AWS::Budgets::Budget", settings)


# The last words of logical IDs.
_KINDS: dict[type[Resource], str] = {
    Role: "Role",
    Bucket: "GalleryBucket",
    Queue: "Queue",
    LogGroup: "Log",
    Repository: "Repository",
    Function: "Function",
    Alias: "Alias",
    FunctionUrl: "Url",
    Permission: "Permission",
    Trigger: "Trigger",
    Alarm: "Alarm",
}
_TRANSLATIONS: dict[type[Resource], Callable[[Any, DesiredState], Blocks]] = {
    Role: _role,
    Bucket: _bucket,
    Queue: _queue,
    LogGroup: _log_group,
    Repository: _repository,
    Function: _function,
    Alias: _alias,
    Permission: _permission,
    FunctionUrl: _url,
    Trigger: _trigger,
    Topic: _topic,
    Subscription: _subscription,
    Alarm: _alarm,
    Dashboard: _dashboard,
    Budget: _budget,
}

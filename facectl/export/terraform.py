"""A Terraform configuration of a deployment, in JSON syntax.

Source of resources and arguments: the documentation of the provider hashicorp/aws. In JSON syntax,
a string is a template: `${…}` in it is an expression.
"""

from __future__ import annotations

import json
import re
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
from facectl.deploy.resources.base import policy, tags
from facectl.deploy.resources.buckets import EXPIRY, PRIVATE
from facectl.deploy.resources.images import lambda_statement
from facectl.deploy.resources.roles import DESCRIPTION, POLICY_NAME
from facectl.deploy.resources.subscriptions import EMAIL_TAG
from facectl.export.state import Dialect, label, mapped, stage
from facectl.naming import FUNCTIONS, TEMPLATE_TAG_KEY

Block: TypeAlias = dict[str, Any]
# A resource's type without `aws_`, its label and its block.
Blocks: TypeAlias = Iterator[tuple[str, str, Block]]

# Files with other names are not read by Terraform.
SUFFIX = ".tf.json"
IMAGES = {function: f"{stage(function)}_image" for function in FUNCTIONS}
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NUMBER = "${data.aws_caller_identity.current.account_id}"
_REGION = "${data.aws_region.current.region}"
_SUFFIX = "${data.aws_partition.current.dns_suffix}"
DIALECT = Dialect(
    Account(
        _NUMBER,
        _REGION,
        f"https://sqs.{_REGION}.{_SUFFIX}",
        f"{_NUMBER}.dkr.ecr.{_REGION}.{_SUFFIX}",
        "${data.aws_partition.current.partition}",
    ),
    {function: f"${{var.{variable}}}" for function, variable in IMAGES.items()},
)
_REQUIRED = {
    # Preconditions.
    "required_version": ">= 1.2",
    # The first with `invoked_via_function_url`.
    "required_providers": {"aws": {"source": "hashicorp/aws", "version": ">= 6.29"}},
}


def configuration(state: DesiredState, images: Mapping[str, str]) -> Block:
    """The configuration of a state of `DIALECT`; `images`: URIs of given images, by function."""
    references = _references(state)
    found: dict[str, dict[str, Block]] = {}
    for resource in resources(state):
        for kind, name, block in _TRANSLATIONS.get(type(resource), _nothing)(resource, state):
            known = {key: value for key, value in block.items() if value not in ("", None, {}, [])}
            found.setdefault(f"aws_{kind}", {})[name] = mapped(
                known, lambda text: references.get(text, text)
            )
    return {
        "terraform": _REQUIRED,
        "variable": {
            variable: {
                "type": "string",
                "description": f"URI of the image of {function}",
                "default": images.get(function, ""),
            }
            for function, variable in IMAGES.items()
        },
        "data": {
            f"aws_{name}": {"current": {}} for name in ("caller_identity", "partition", "region")
        },
        "resource": found,
        "output": {
            "function_url": {"value": "${aws_lambda_function_url.detection.function_url}"},
            "request_queue_url": {"value": "${aws_sqs_queue.request.url}"},
            "response_queue_url": {"value": "${aws_sqs_queue.response.url}"},
            "gallery_bucket": {"value": "${aws_s3_bucket.gallery.bucket}"},
        },
    }


def _references(state: DesiredState) -> dict[str, str]:
    """The expressions of resources of the configuration by what they are equal to.

    Terraform makes a resource after those that it refers to.
    """
    account = state.account
    found: dict[str, str] = {}
    for resource in resources(state):
        name = _name(resource, state)
        if isinstance(resource, Role):
            found[account.role_arn(resource.name)] = f"${{aws_iam_role.{name}.arn}}"
        elif isinstance(resource, Queue):
            found[account.queue_arn(resource.name)] = f"${{aws_sqs_queue.{name}.arn}}"
            found[account.queue_url(resource.name)] = f"${{aws_sqs_queue.{name}.url}}"
        elif isinstance(resource, Topic):
            found[account.topic_arn(resource.name)] = "${aws_sns_topic.alarms.arn}"
    return found


def _name(resource: Resource, state: DesiredState) -> str:
    """The label of a resource."""
    return label(resource, state.names).replace("-", "_")


def _snake(value: Any) -> Any:
    """Arguments of AWS's API as Terraform names them: `BatchSize` becomes `batch_size`."""
    if isinstance(value, Mapping):
        return {_WORD.sub("_", key).lower(): _snake(each) for key, each in value.items()}
    return value


def _nothing(_resource: Any, _state: DesiredState) -> Blocks:
    """No block: images are variables."""
    yield from ()


def _role(role: Role, state: DesiredState) -> Blocks:
    name = _name(role, state)
    yield "iam_role", name, {
        "name": role.name,
        "description": DESCRIPTION,
        "assume_role_policy": role.trust,
        "permissions_boundary": role.boundary,
        "tags": tags(role.owner),
    }  # fmt: skip
    yield "iam_role_policy", name, {
        "name": POLICY_NAME,
        "role": f"${{aws_iam_role.{name}.name}}",
        "policy": role.policy,
    }  # fmt: skip


def _bucket(bucket: Bucket, state: DesiredState) -> Blocks:
    name, here = "gallery", {"bucket": "${aws_s3_bucket.gallery.bucket}"}
    yield "s3_bucket", name, {
        "bucket": bucket.name,
        # As `facectl destroy`.
        "force_destroy": True,
        "tags": tags(bucket.owner),
    }  # fmt: skip
    encryption = bucket.encryption()
    default = encryption["ApplyServerSideEncryptionByDefault"]
    yield "s3_bucket_server_side_encryption_configuration", name, {
        **here,
        "rule": {
            "apply_server_side_encryption_by_default": {
                "sse_algorithm": default["SSEAlgorithm"],
                **({"kms_master_key_id": bucket.kms_key} if bucket.kms_key else {}),
            },
            "bucket_key_enabled": encryption["BucketKeyEnabled"],
        },
    }  # fmt: skip
    if bucket.private:
        yield "s3_bucket_public_access_block", name, {**here, **_snake(PRIVATE)}
    if bucket.attempts_expire:
        rule = {"id" if key == "ID" else key: value for key, value in EXPIRY.items()}
        yield "s3_bucket_lifecycle_configuration", name, {**here, "rule": _snake(rule)}
    if bucket.https_only:
        document = policy(bucket.refusal(state.account))
        yield "s3_bucket_policy", name, {**here, "policy": document}


def _queue(queue: Queue, state: DesiredState) -> Blocks:
    name = _name(queue, state)
    redrive = json.loads(queue.attributes()["RedrivePolicy"] or "{}")
    if redrive:
        arn = redrive["deadLetterTargetArn"]
        redrive["deadLetterTargetArn"] = _references(state).get(arn, arn)
    yield "sqs_queue", name, {
        "name": queue.name,
        "visibility_timeout_seconds": queue.visibility_timeout,
        "message_retention_seconds": queue.retention,
        "receive_wait_time_seconds": queue.receive_wait,
        # SQS allows one of the two.
        "sqs_managed_sse_enabled": None if queue.kms_key else queue.encrypted,
        "kms_master_key_id": queue.kms_key,
        "redrive_policy": json.dumps(redrive) if redrive else "",
        "tags": {**tags(queue.owner), TEMPLATE_TAG_KEY: "terraform"},
    }  # fmt: skip
    if queue.policy:
        url = f"${{aws_sqs_queue.{name}.url}}"
        yield "sqs_queue_policy", name, {"queue_url": url, "policy": queue.policy}


def _log_group(group: LogGroup, state: DesiredState) -> Blocks:
    yield "cloudwatch_log_group", _name(group, state), {
        "name": group.name,
        "retention_in_days": group.retention_days,
        "kms_key_id": group.kms_key,
        "tags": tags(group.owner),
    }  # fmt: skip


def _repository(repository: Repository, state: DesiredState) -> Blocks:
    name = _name(repository, state)
    here = {"repository": f"${{aws_ecr_repository.{name}.name}}"}
    yield "ecr_repository", name, {
        "name": repository.name,
        "image_tag_mutability": repository.mutability,
        "image_scanning_configuration": {"scan_on_push": repository.scan_on_push},
        "force_delete": True,
        "tags": tags(repository.owner),
    }  # fmt: skip
    yield "ecr_lifecycle_policy", name, {**here, "policy": repository.lifecycle_policy}
    if repository.lambda_pulls:
        document = policy(lambda_statement(state.account))
        yield "ecr_repository_policy", name, {**here, "policy": document}


def _function(function: Function, state: DesiredState) -> Blocks:
    name = stage(function.name)
    variable = IMAGES[function.name]
    # Lambda makes a missing log group itself, without retention.
    before = [f"aws_cloudwatch_log_group.{name}"]
    if state.role_arn is None:
        before.append(f"aws_iam_role_policy.{name}")
    if any(isinstance(each, Repository) for each in resources(state)):
        before.append(f"aws_ecr_repository_policy.{name}")
    settings = function.configuration()
    environment = settings.pop("Environment")["Variables"]
    yield "lambda_function", name, {
        **_snake(settings),
        "environment": {"variables": environment},
        "package_type": "Image",
        "image_uri": function.code,
        "architectures": [function.architecture],
        "reserved_concurrent_executions": function.reserved_concurrency,
        # Every change is a version, to which the alias moves.
        "publish": bool(state.qualifier),
        "tags": function.all_tags(),
        "depends_on": before,
        "lifecycle": {
            "precondition": {
                "condition": f'${{var.{variable} != ""}}',
                "error_message": f"{variable} is empty: push the images with 'facectl push', and "
                "give the URIs that it prints.",
            }
        },
    }  # fmt: skip


def _alias(alias: Alias, _state: DesiredState) -> Blocks:
    name = stage(alias.function)
    function, this = f"aws_lambda_function.{name}", f"aws_lambda_alias.{name}"
    yield "lambda_alias", name, {
        "name": alias.alias,
        "function_name": f"${{{function}.function_name}}",
        "function_version": f"${{{function}.version}}",
    }  # fmt: skip
    yield "lambda_provisioned_concurrency_config", name, {
        "function_name": f"${{{this}.function_name}}",
        "qualifier": f"${{{this}.name}}",
        "provisioned_concurrent_executions": alias.provisioned,
    }  # fmt: skip


def _at(function: str, qualifier: str) -> Block:
    """The arguments for a function, or for its alias."""
    name = stage(function)
    found = {"function_name": f"${{aws_lambda_function.{name}.function_name}}"}
    if qualifier:
        found["qualifier"] = f"${{aws_lambda_alias.{name}.name}}"
    return found


def _permission_name(permission: Permission) -> str:
    words = permission.statement.removesuffix(f"-{permission.qualifier}").split("-")
    return "_".join([stage(permission.function), *words[1:]])


def _permission(permission: Permission, _state: DesiredState) -> Blocks:
    yield "lambda_permission", _permission_name(permission), {
        **_at(permission.function, permission.qualifier),
        "statement_id": permission.statement,
        **_snake(permission.arguments()),
    }  # fmt: skip


def _url(url: FunctionUrl, state: DesiredState) -> Blocks:
    before = [
        f"aws_lambda_permission.{_permission_name(each)}"
        for each in resources(state)
        if isinstance(each, Permission)
    ]
    yield "lambda_function_url", stage(url.function), {
        **_at(url.function, url.qualifier),
        "authorization_type": url.auth_type,
        "depends_on": before,
    }  # fmt: skip


def _trigger(trigger: Trigger, _state: DesiredState) -> Blocks:
    name = stage(trigger.function)
    called = f"aws_lambda_{'alias' if trigger.qualifier else 'function'}.{name}"
    yield "lambda_event_source_mapping", name, {
        **_snake(trigger.settings()),
        **_snake({key: value for key, value in trigger.limits().items() if value}),
        "function_name": f"${{{called}.arn}}",
        "event_source_arn": trigger.queue,
        "tags": tags(trigger.owner),
    }  # fmt: skip


def _topic(topic: Topic, state: DesiredState) -> Blocks:
    # By the second tag `facectl` knows the address that was subscribed.
    address = {EMAIL_TAG: state.alarms_email}
    yield "sns_topic", "alarms", {"name": topic.name, "tags": {**tags(topic.owner), **address}}


def _subscription(subscription: Subscription, _state: DesiredState) -> Blocks:
    yield "sns_topic_subscription", "alarms", {
        "topic_arn": "${aws_sns_topic.alarms.arn}",
        "protocol": "email",
        "endpoint": subscription.email,
    }  # fmt: skip


def _alarm(alarm: Alarm, state: DesiredState) -> Blocks:
    yield "cloudwatch_metric_alarm", _name(alarm, state), {
        **_snake(alarm.arguments()),
        "dimensions": dict(alarm.dimensions),
        "tags": tags(alarm.owner),
    }  # fmt: skip


def _dashboard(dashboard: Dashboard, _state: DesiredState) -> Blocks:
    yield "cloudwatch_dashboard", "deployment", {
        "dashboard_name": dashboard.title,
        "dashboard_body": dashboard.body,
    }  # fmt: skip


def _budget(budget: Budget, _state: DesiredState) -> Blocks:
    settings = budget.arguments()
    [notified] = settings["NotificationsWithSubscribers"]
    limit = settings["Budget"]["BudgetLimit"]
    yield "budgets_budget", "account", {
        "name": budget.name,
        "budget_type": settings["Budget"]["BudgetType"],
        "time_unit": settings["Budget"]["TimeUnit"],
        "limit_amount": limit["Amount"],
        "limit_unit": limit["Unit"],
        "notification": {
            **_snake(notified["Notification"]),
            "subscriber_email_addresses": [each["Address"] for each in notified["Subscribers"]],
        },
    }  # fmt: skip


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

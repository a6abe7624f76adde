"""What an exported Terraform configuration says is what `facectl deploy` makes.

No Terraform runs here: the blocks are read back as resources, with the arguments' meaning from the
provider's documentation, and the plan from them to the resources of a deploy has no steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from export_samples import deployed_by_facectl, image_uris, options_of

from facectl.aws import Clients
from facectl.cli.deploy_report import step_line
from facectl.deploy import planner
from facectl.deploy.desired import resources
from facectl.deploy.models import Account
from facectl.deploy.resources import (
    Alarm,
    Alias,
    Bucket,
    Budget,
    Dashboard,
    Function,
    FunctionUrl,
    Image,
    LogGroup,
    Permission,
    Queue,
    Repository,
    Resource,
    Role,
    Subscription,
    Topic,
    Trigger,
    key,
)
from facectl.deploy.resources.base import canonical
from facectl.export import terraform
from facectl.export.state import desired_state, given_images
from lambda_src.vision.store import Model

NUMBER = "123456789012"
OPTIONS = options_of(NUMBER)
OWNER = "facectl:asu-id"
EXPRESSION = re.compile(r"\$\{([\w.]+)\}")


class ReadBack:
    """The resources of a configuration."""

    def __init__(self, document: dict[str, Any], account: Account, images: dict[str, str]) -> None:
        self.account, self.images = account, images
        self.blocks = document["resource"]
        self.blocks = self.evaluated(document["resource"])

    def evaluated(self, value: Any) -> Any:
        """A value without expressions."""
        if isinstance(value, str):
            return EXPRESSION.sub(lambda found: self.expression(found.group(1)), value)
        if isinstance(value, dict):
            return {name: self.evaluated(each) for name, each in value.items()}
        return [self.evaluated(each) for each in value] if isinstance(value, list) else value

    def expression(self, text: str) -> str:
        account = self.account
        known = {
            "data.aws_caller_identity.current.account_id": account.number,
            "data.aws_region.current.region": account.region,
            "data.aws_partition.current.partition": account.partition,
            "data.aws_partition.current.dns_suffix": "amazonaws.com",
            "var.detection_image": self.images["face-detection"],
            "var.recognition_image": self.images["face-recognition"],
        }
        if text in known:
            return known[text]
        kind, name, attribute = text.split(".")
        block = self.blocks[kind][name]
        if attribute in block:
            return str(self.evaluated(block[attribute]))
        if kind == "aws_lambda_function":
            arn = account.function_arn(block["function_name"])
            return {"arn": arn, "version": "current"}[attribute]
        if kind == "aws_lambda_alias":
            assert attribute == "arn"
            function = self.evaluated(block["function_name"])
            return f"{account.function_arn(function)}:{block['name']}"
        return {
            ("aws_iam_role", "arn"): account.role_arn,
            ("aws_sqs_queue", "arn"): account.queue_arn,
            ("aws_sqs_queue", "url"): account.queue_url,
            ("aws_sns_topic", "arn"): account.topic_arn,
        }[kind, attribute](block["name"])

    def of(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = self.blocks.get(f"aws_{kind}", {})
        return found

    def resources(self) -> Iterator[Resource]:
        yield from self.roles()
        yield from self.queues()
        yield self.bucket()
        yield from self.repositories()
        yield from self.functions()
        yield from self.calls()
        yield from self.alarms()

    def roles(self) -> Iterator[Resource]:
        for name, role in self.of("iam_role").items():
            inline = self.of("iam_role_policy")[name]
            assert (inline["name"], inline["role"]) == ("facectl", role["name"])
            yield Role(
                role["name"], role["tags"][OWNER], canonical(role["assume_role_policy"]),
                canonical(inline["policy"]), role.get("permissions_boundary", ""),
            )  # fmt: skip

    def queues(self) -> Iterator[Resource]:
        for name, queue in self.of("sqs_queue").items():
            document = self.of("sqs_queue_policy")[name]
            assert document["queue_url"] == self.account.queue_url(queue["name"])
            redrive = json.loads(queue.get("redrive_policy", "{}"))
            assert ("kms_master_key_id" in queue) != ("sqs_managed_sse_enabled" in queue)
            yield Queue(
                queue["name"], queue["tags"][OWNER], queue["visibility_timeout_seconds"],
                queue["message_retention_seconds"], queue["receive_wait_time_seconds"],
                queue.get("sqs_managed_sse_enabled", True),
                redrive.get("deadLetterTargetArn", ""), redrive.get("maxReceiveCount", 0),
                canonical(document["policy"]), queue.get("kms_master_key_id", ""),
            )  # fmt: skip
        for group in self.of("cloudwatch_log_group").values():
            yield LogGroup(
                group["name"], group["tags"][OWNER], group["retention_in_days"],
                group.get("kms_key_id", ""),
            )  # fmt: skip

    def bucket(self) -> Resource:
        [bucket] = self.of("s3_bucket").values()
        [encryption] = self.of("s3_bucket_server_side_encryption_configuration").values()
        [block] = self.of("s3_bucket_public_access_block").values()
        [lifecycle] = self.of("s3_bucket_lifecycle_configuration").values()
        [document] = self.of("s3_bucket_policy").values()
        assert {each["bucket"] for each in (encryption, block, lifecycle, document)} == {
            bucket["bucket"]
        }
        default = encryption["rule"]["apply_server_side_encryption_by_default"]
        kms_key = default.get("kms_master_key_id", "")
        assert default["sse_algorithm"] == ("aws:kms" if kms_key else "AES256")
        [statement] = json.loads(document["policy"])["Statement"]
        arn = f"arn:aws:s3:::{bucket['bucket']}"
        return Bucket(
            bucket["bucket"],
            bucket["tags"][OWNER],
            private=block
            == {
                "bucket": bucket["bucket"],
                "block_public_acls": True,
                "block_public_policy": True,
                "ignore_public_acls": True,
                "restrict_public_buckets": True,
            },
            attempts_expire=lifecycle["rule"]
            == {
                "id": "facectl-attempts",
                "status": "Enabled",
                "filter": {"prefix": "attempts/"},
                "expiration": {"days": 1},
                "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
            },
            https_only=statement["Effect"] == "Deny"
            and statement["Resource"] == [arn, f"{arn}/*"]
            and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}},
            kms_key=kms_key,
        )

    def repositories(self) -> Iterator[Resource]:
        for name, repository in self.of("ecr_repository").items():
            expiry = self.of("ecr_lifecycle_policy")[name]
            pulls = self.of("ecr_repository_policy")[name]
            assert expiry["repository"] == pulls["repository"] == repository["name"]
            [rule] = json.loads(expiry["policy"])["rules"]
            [statement] = json.loads(pulls["policy"])["Statement"]
            arn = self.account.function_arn("*")
            yield Repository(
                repository["name"], repository["tags"][OWNER],
                repository["image_tag_mutability"] == "IMMUTABLE",
                rule["selection"]["countNumber"],
                repository["image_scanning_configuration"]["scan_on_push"],
                statement["Principal"] == {"Service": "lambda.amazonaws.com"}
                and statement["Condition"] == {"StringLike": {"aws:sourceArn": arn}},
            )  # fmt: skip
            # It is in the registry before the functions are made.
            yield Image(repository["name"], self.images[repository["name"]].rpartition(":")[2])

    def functions(self) -> Iterator[Resource]:
        for name, function in self.of("lambda_function").items():
            assert function["package_type"] == "Image"
            alias = self.of("lambda_alias").get(name)
            assert function["publish"] == (alias is not None)
            yield Function(
                function["function_name"], function["tags"][OWNER], "image",
                function["image_uri"], "", "", function["role"], function["memory_size"],
                function["timeout"], function["architectures"][0],
                function["environment"]["variables"],
                function.get("reserved_concurrent_executions"),
            )  # fmt: skip
            if alias is not None:
                warm = self.of("lambda_provisioned_concurrency_config")[name]
                called = (warm["function_name"], warm["qualifier"])
                assert called == (function["function_name"], alias["name"])
                yield Alias(
                    alias["function_name"], alias["name"],
                    warm["provisioned_concurrent_executions"], alias["function_version"],
                )  # fmt: skip

    def calls(self) -> Iterator[Resource]:
        for permission in self.of("lambda_permission").values():
            conditions: dict[str, Any] = {}
            if "function_url_auth_type" in permission:
                auth = {"lambda:FunctionUrlAuthType": permission["function_url_auth_type"]}
                conditions["StringEquals"] = auth
            if permission.get("invoked_via_function_url"):
                conditions["Bool"] = {"lambda:InvokedViaFunctionUrl": "true"}
            yield Permission(
                permission["function_name"], permission["statement_id"], permission["action"],
                permission["principal"], canonical(conditions), permission.get("qualifier", ""),
            )  # fmt: skip
        [url] = self.of("lambda_function_url").values()
        auth_type = {"NONE": "none", "AWS_IAM": "iam"}[url["authorization_type"]]
        yield FunctionUrl(url["function_name"], auth_type, url.get("qualifier", ""))  # type: ignore[arg-type]
        [mapping] = self.of("lambda_event_source_mapping").values()
        function, _, qualifier = mapping["function_name"].partition(":function:")[2].partition(":")
        pollers = mapping.get("provisioned_poller_config")
        yield Trigger(
            function, mapping["event_source_arn"], mapping["tags"][OWNER], mapping["batch_size"],
            mapping["maximum_batching_window_in_seconds"],
            mapping.get("scaling_config", {}).get("maximum_concurrency"),
            tuple(mapping["function_response_types"]), mapping["enabled"], qualifier,
            (pollers["minimum_pollers"], pollers["maximum_pollers"]) if pollers else None,
        )  # fmt: skip

    def alarms(self) -> Iterator[Resource]:
        for topic in self.of("sns_topic").values():
            yield Topic(topic["name"], topic["tags"][OWNER])
            [subscription] = self.of("sns_topic_subscription").values()
            assert subscription["topic_arn"] == self.account.topic_arn(topic["name"])
            assert subscription["protocol"] == "email"
            assert subscription["endpoint"] == topic["tags"]["facectl:email"]
            yield Subscription(topic["name"], subscription["endpoint"])
        for alarm in self.of("cloudwatch_metric_alarm").values():
            [action] = alarm["alarm_actions"]
            yield Alarm(
                alarm["alarm_name"], alarm["tags"][OWNER], alarm["namespace"],
                alarm["metric_name"], alarm["dimensions"], alarm["statistic"], action,
                alarm["threshold"], alarm["evaluation_periods"], alarm["datapoints_to_alarm"],
                alarm["period"], alarm["comparison_operator"], alarm["treat_missing_data"],
                alarm["actions_enabled"],
            )  # fmt: skip
        for dashboard in self.of("cloudwatch_dashboard").values():
            body = canonical(dashboard["dashboard_body"])
            yield Dashboard(dashboard["dashboard_name"], "facectl-1225754101-alarms", body)
        for budget in self.of("budgets_budget").values():
            notification = budget["notification"]
            [email] = notification["subscriber_email_addresses"]
            assert notification["threshold_type"] == "PERCENTAGE"
            assert notification["comparison_operator"] == "GREATER_THAN"
            assert notification["notification_type"] == "ACTUAL"
            assert (budget["budget_type"], budget["limit_unit"]) == ("COST", "USD")
            yield Budget(
                budget["name"], "facectl-1225754101-alarms", email, float(budget["limit_amount"]),
                notification["threshold"], f"all costs, {budget['time_unit'].lower()}",
            )  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
def test_a_configuration_has_the_resources_of_a_deploy(
    name: str, clients: Clients, model: Model
) -> None:
    options = OPTIONS[name]
    state = desired_state(clients.deployment, options, terraform.DIALECT)
    given = given_images(options)
    document = json.loads(json.dumps(terraform.configuration(state, given)))
    wanted = deployed_by_facectl(clients, model, options)
    found = ReadBack(document, wanted.account, given or image_uris(NUMBER))
    actual = {key(each): each for each in found.resources()}
    assert [step_line(each) for each in planner.plan(resources(wanted), actual)] == []
    assert set(actual) == {key(each) for each in resources(wanted)}

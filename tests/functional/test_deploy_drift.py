"""Whatever was changed behind our back is told and repaired, one thing at a time."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from moto_account import ASU_ID, DLQ, REQUESTS, RESPONSES, apply, found, queue_url

from facectl.aws import Clients
from facectl.deploy.models import DesiredState
from facectl.deploy.packages import zip_package
from facectl.deploy.resources import Context, Permission

# How each attribute may have been changed behind our back, and what the plan says of it.
Drift = Callable[[Clients], object]


def set_queue(name: str, attribute: str, value: str) -> Drift:
    def drift(clients: Clients) -> None:
        url = queue_url(clients, name)
        kept = clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
        # moto forgets a policy that is not said again.
        changed: Any = {**kept.get("Attributes", {}), attribute: value}
        clients.sqs.set_queue_attributes(QueueUrl=url, Attributes=changed)

    return drift


def set_function(name: str, **configuration: Any) -> Drift:
    return lambda clients: clients.functions.update_function_configuration(
        FunctionName=name, **configuration
    )


def set_trigger(**configuration: Any) -> Drift:
    def drift(clients: Clients) -> None:
        mapping = clients.functions.list_event_source_mappings()["EventSourceMappings"][0]
        clients.functions.update_event_source_mapping(UUID=mapping["UUID"], **configuration)

    return drift


def delete_trigger(clients: Clients) -> None:
    mapping = clients.functions.list_event_source_mappings()["EventSourceMappings"][0]
    clients.functions.delete_event_source_mapping(UUID=mapping["UUID"])


def edit_code(clients: Clients) -> None:
    other = zip_package().archive + b"\n"
    clients.functions.update_function_code(FunctionName="face-detection", ZipFile=other)


def open_bucket(clients: Clients) -> None:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    clients.s3.delete_public_access_block(Bucket=name)


# As S3 reports the rule of another tool.
OTHER_RULE: Any = {
    "ID": "other",
    "Status": "Disabled",
    "Filter": {"Prefix": "backups/"},
    "Expiration": {"Days": 30},
}


def rules_of(clients: Clients) -> list[Any]:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    return clients.s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]


def set_lifecycle(**changes: Any) -> Drift:
    """Change facectl's rule, beside a rule of another tool."""

    def drift(clients: Clients) -> None:
        name = clients.s3.list_buckets()["Buckets"][0]["Name"]
        [rule] = rules_of(clients)
        clients.s3.put_bucket_lifecycle_configuration(
            Bucket=name, LifecycleConfiguration={"Rules": [{**rule, **changes}, OTHER_RULE]}
        )

    return drift


def delete_lifecycle(clients: Clients) -> None:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    clients.s3.delete_bucket_lifecycle(Bucket=name)


def bucket_policy(clients: Clients) -> Any:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    return json.loads(clients.s3.get_bucket_policy(Bucket=name)["Policy"])


# As somebody else adds it.
OTHER_STATEMENT = {
    "Sid": "Backup",
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "s3:GetObject",
    "Resource": f"arn:aws:s3:::facectl-{ASU_ID}-123456789012-us-east-1/*",
}


def allow_plain_http(clients: Clients) -> None:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    document = {**bucket_policy(clients), "Statement": OTHER_STATEMENT}
    clients.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(document))


def weaken_bucket_policy(clients: Clients) -> None:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    document = bucket_policy(clients)
    document["Statement"][0]["Action"] = "s3:PutObject"
    clients.s3.put_bucket_policy(Bucket=name, Policy=json.dumps(document))


def untag_bucket(clients: Clients) -> None:
    name = clients.s3.list_buckets()["Buckets"][0]["Name"]
    clients.s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})


EVERYONE = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
    }
)
ANYTHING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
)
BOUNDARY = "arn:aws:iam::123456789012:policy/limit"
ROLE = f"facectl-{ASU_ID}-recognition"

DRIFTS: dict[str, tuple[Drift, str]] = {
    "request visibility": (
        set_queue(REQUESTS, "VisibilityTimeout", "30"),
        f"update queue {REQUESTS} (visibility timeout 30 → 360)",
    ),
    "response visibility": (
        set_queue(RESPONSES, "VisibilityTimeout", "30"),
        f"update queue {RESPONSES} (visibility timeout 30 → 1)",
    ),
    "long polling": (
        set_queue(RESPONSES, "ReceiveMessageWaitTimeSeconds", "0"),
        f"update queue {RESPONSES} (receive wait 0 → 20)",
    ),
    "retention": (
        set_queue(DLQ, "MessageRetentionPeriod", "60"),
        f"update queue {DLQ} (retention 60 → 1209600)",
    ),
    "encryption": (
        set_queue(REQUESTS, "SqsManagedSseEnabled", "false"),
        f"update queue {REQUESTS} (encrypted no → yes)",
    ),
    "receives": (
        set_queue(
            REQUESTS,
            "RedrivePolicy",
            json.dumps(
                {
                    "deadLetterTargetArn": f"arn:aws:sqs:us-east-1:123456789012:{DLQ}",
                    "maxReceiveCount": 9,
                }
            ),
        ),
        f"update queue {REQUESTS} (max receives 9 → 5)",
    ),
    "queue policy": (
        set_queue(RESPONSES, "Policy", ""),
        f"update queue {RESPONSES} (policy statement RefusePlainHttp none → ",
    ),
    "queue gone": (
        lambda clients: clients.sqs.delete_queue(QueueUrl=queue_url(clients, RESPONSES)),
        f"create queue {RESPONSES}",
    ),
    "log retention": (
        lambda clients: clients.logs.delete_retention_policy(
            logGroupName="/aws/lambda/face-detection"
        ),
        "update log group /aws/lambda/face-detection (retention days 0 → 14)",
    ),
    "log group gone": (
        lambda clients: clients.logs.delete_log_group(logGroupName="/aws/lambda/face-recognition"),
        "create log group /aws/lambda/face-recognition",
    ),
    "trust": (
        lambda clients: clients.iam.update_assume_role_policy(
            RoleName=ROLE, PolicyDocument=EVERYONE
        ),
        f"update role {ROLE} (trust statement 1 {{",
    ),
    "role policy": (
        lambda clients: clients.iam.put_role_policy(
            RoleName=ROLE, PolicyName="facectl", PolicyDocument=ANYTHING
        ),
        f"update role {ROLE} (policy statement 1 {{",
    ),
    "role boundary": (
        lambda clients: clients.iam.put_role_permissions_boundary(
            RoleName=ROLE, PermissionsBoundary=BOUNDARY
        ),
        f"update role {ROLE} (boundary {BOUNDARY} → none)",
    ),
    "role policy gone": (
        lambda clients: clients.iam.delete_role_policy(RoleName=ROLE, PolicyName="facectl"),
        f"update role {ROLE} (policy statement KnowThatThereIsNone none → ",
    ),
    "memory": (
        set_function("face-detection", MemorySize=128),
        "update function face-detection (memory 128 → 1769)",
    ),
    "timeout": (
        set_function("face-recognition", Timeout=3),
        "update function face-recognition (timeout 3 → 60)",
    ),
    "handler": (
        set_function("face-recognition", Handler="a.b"),
        "update function face-recognition (handler a.b → lambda_src.recognition.handler)",
    ),
    "runtime": (
        set_function("face-recognition", Runtime="python3.10"),
        "update function face-recognition (runtime python3.10 → python3.12)",
    ),
    "function's role": (
        set_function("face-detection", Role=f"arn:aws:iam::123456789012:role/{ROLE}"),
        "update function face-detection (role ",
    ),
    "environment": (
        set_function("face-detection", Environment={"Variables": {}}),
        "update function face-detection (FACECTL_GALLERY_BUCKET none → ",
    ),
    "code": (edit_code, "update function face-detection (code "),
    "reserved concurrency": (
        lambda clients: clients.functions.delete_function_concurrency(
            FunctionName="face-detection"
        ),
        "update function face-detection (reserved concurrency none → 5)",
    ),
    "reserved concurrency of recognition": (
        lambda clients: clients.functions.put_function_concurrency(
            FunctionName="face-recognition", ReservedConcurrentExecutions=1
        ),
        "update function face-recognition (reserved concurrency 1 → none)",
    ),
    "URL's authentication": (
        lambda clients: clients.functions.update_function_url_config(
            FunctionName="face-detection", AuthType="AWS_IAM"
        ),
        "update function URL face-detection (auth iam → none)",
    ),
    "URL gone": (
        lambda clients: clients.functions.delete_function_url_config(FunctionName="face-detection"),
        "create function URL face-detection",
    ),
    "statement gone": (
        lambda clients: clients.functions.remove_permission(
            FunctionName="face-detection", StatementId="facectl-public-invoke"
        ),
        "create permission face-detection/facectl-public-invoke",
    ),
    "superfluous statement": (
        lambda clients: clients.functions.add_permission(
            FunctionName="face-detection",
            StatementId="facectl-old",
            Action="lambda:InvokeFunction",
            Principal="*",
        ),
        "delete permission face-detection/facectl-old",
    ),
    "batch size": (
        set_trigger(BatchSize=1),
        f"update trigger {REQUESTS} → face-recognition (batch size 1 → 10)",
    ),
    "trigger disabled": (
        set_trigger(Enabled=False),
        f"update trigger {REQUESTS} → face-recognition (enabled no → yes)",
    ),
    "trigger gone": (delete_trigger, f"create trigger {REQUESTS} → face-recognition"),
    "public bucket": (open_bucket, "(private no → yes)"),
    "bucket policy gone": (
        lambda clients: clients.s3.delete_bucket_policy(
            Bucket=clients.s3.list_buckets()["Buckets"][0]["Name"]
        ),
        "(https only no → yes)",
    ),
    "bucket policy of others": (allow_plain_http, "(https only no → yes)"),
    "bucket policy weaker": (weaken_bucket_policy, "(https only no → yes)"),
    "lifecycle gone": (delete_lifecycle, "(attempts expire no → yes)"),
    "lifecycle days": (set_lifecycle(Expiration={"Days": 7}), "(attempts expire no → yes)"),
    "lifecycle disabled": (set_lifecycle(Status="Disabled"), "(attempts expire no → yes)"),
    "lifecycle of other objects": (
        set_lifecycle(Filter={"Prefix": "gallery/"}),
        "(attempts expire no → yes)",
    ),
    "bucket's tag": (untag_bucket, f"(owner none → {ASU_ID})"),
}


@pytest.mark.parametrize("what", DRIFTS)
def test_every_single_drift_is_told_and_repaired(
    context: Context, desired: DesiredState, what: str
) -> None:
    drift, line = DRIFTS[what]
    apply(context, desired)
    whole = found(context, desired)

    drift(context.clients)
    told = apply(context, desired)

    assert len(told) == 1
    assert line in told[0]
    assert found(context, desired) == whole
    assert apply(context, desired) == []


def test_the_objects_of_crashed_workers_expire(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
    assert rules_of(context.clients) == [
        {
            "ID": "facectl-attempts",
            "Status": "Enabled",
            "Filter": {"Prefix": "attempts/"},
            "Expiration": {"Days": 1},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
    ]


def test_a_lifecycle_rule_in_s3s_older_form_is_the_same(
    context: Context, desired: DesiredState
) -> None:
    """CloudFormation may write the prefix of a rule so; one call does not take both forms."""
    apply(context, desired)
    s3 = context.clients.s3
    name = s3.list_buckets()["Buckets"][0]["Name"]
    [rule] = rules_of(context.clients)
    old: Any = {**rule, "Prefix": rule["Filter"]["Prefix"]}
    del old["Filter"]
    configuration: Any = {"Rules": [old, {**OTHER_RULE, "Filter": {"Prefix": "a"}}]}
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=configuration)
    assert apply(context, desired) == []
    s3.delete_public_access_block(Bucket=name)
    assert len(apply(context, desired)) == 1
    assert all("Filter" in each for each in rules_of(context.clients))


@pytest.mark.parametrize("drift", [set_lifecycle(ID="renamed"), set_lifecycle(Status="Disabled")])
def test_lifecycle_rules_of_others_are_kept(
    context: Context, desired: DesiredState, drift: Drift
) -> None:
    apply(context, desired)
    drift(context.clients)
    others = [rule for rule in rules_of(context.clients) if rule["ID"] != "facectl-attempts"]

    apply(context, desired)

    assert OTHER_RULE in others
    rules = rules_of(context.clients)
    assert [rule for rule in rules if rule["ID"] != "facectl-attempts"] == others
    assert len(rules) == len(others) + 1


def test_the_bucket_refuses_plain_http(context: Context, desired: DesiredState) -> None:
    apply(context, desired)
    arn = f"arn:aws:s3:::facectl-{ASU_ID}-123456789012-us-east-1"
    [statement] = bucket_policy(context.clients)["Statement"]
    assert statement == {
        "Sid": "RefusePlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_statements_of_others_are_kept_in_the_buckets_policy(
    context: Context, desired: DesiredState
) -> None:
    apply(context, desired)
    allow_plain_http(context.clients)
    apply(context, desired)
    sids = [each["Sid"] for each in bucket_policy(context.clients)["Statement"]]
    assert sids == ["Backup", "RefusePlainHttp"]


def test_a_permissions_boundary_is_made_changed_and_kept(
    context: Context, desired: DesiredState
) -> None:
    bound = dataclasses.replace(desired, boundary=BOUNDARY)
    apply(context, bound)
    assert apply(context, bound) == []
    role = context.clients.iam.get_role(RoleName=ROLE)["Role"]
    assert role["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    context.clients.iam.delete_role_permissions_boundary(RoleName=ROLE)
    assert apply(context, bound) == [f"update role {ROLE} (boundary none → {BOUNDARY})"]
    other = dataclasses.replace(desired, boundary=f"{BOUNDARY}-2")
    assert len(apply(context, other)) == 2
    assert apply(context, other) == []


def test_public_statements_with_other_names_are_facectls(
    context: Context, desired: DesiredState
) -> None:
    """CloudFormation and Terraform give them names of their own."""
    apply(context, desired)
    functions = context.clients.functions
    where: Any = {"FunctionName": "face-detection"}
    for permission in Permission.find_all(context, "face-detection"):
        functions.remove_permission(**where, StatementId=permission.statement)
        arguments = permission.arguments()
        functions.add_permission(**where, StatementId=f"stack-{permission.action[7:]}", **arguments)
    # Another one is not.
    functions.add_permission(
        **where, StatementId="mine", Action="lambda:InvokeFunction", Principal="123456789012"
    )
    assert apply(context, desired) == []
    closed = dataclasses.replace(desired, auth="iam")
    assert [line.split(" (")[0] for line in apply(context, closed)] == [
        "update function URL face-detection",
        "delete permission face-detection/facectl-public-url",
        "delete permission face-detection/facectl-public-invoke",
    ]
    policy = json.loads(functions.get_policy(**where)["Policy"])
    assert [statement["Sid"] for statement in policy["Statement"]] == ["mine"]
    assert apply(context, closed) == []

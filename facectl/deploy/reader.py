"""Reads the actual resources of a deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from facectl.aws import Clients, unless_missing
from facectl.deploy.models import (
    ALIAS,
    CURRENT,
    Account,
    Alias,
    Auth,
    Bucket,
    Function,
    FunctionUrl,
    Image,
    Key,
    LogGroup,
    Permission,
    Queue,
    Repository,
    Resource,
    Role,
    Trigger,
    key,
)
from facectl.deploy.policies import canonical
from facectl.naming import DEMO_TAG_KEY, TAG_KEY

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import (
        EventSourceMappingConfigurationTypeDef,
        GetFunctionUrlConfigResponseTypeDef,
    )

ROLE_POLICY = "facectl"
# Statements with other names were not added by facectl and are ignored.
STATEMENT_PREFIX = "facectl-"
# The attributes that facectl sets and a published version keeps.
_PUBLISHED = ("CodeSha256", "MemorySize", "Timeout", "Role", "Environment", "Architectures")


class Reader:
    """Reads resources by name; raises botocore's errors."""

    def __init__(self, clients: Clients, account: Account) -> None:
        self._clients = clients
        self._account = account

    def read(self, desired: Sequence[Resource]) -> dict[Key, Resource]:
        """The actual state of `desired`, with aliases and policy statements of its functions."""
        actual: dict[Key, Resource] = {}
        for resource in desired:
            current = self._one(resource)
            if current is not None:
                actual[key(current)] = current
            if isinstance(resource, Function) and current is not None:
                actual.update({key(each): each for each in self._attached(resource.name)})
        return actual

    def _attached(self, function: str) -> Iterator[Alias | Permission]:
        yield from self.permissions(function)
        alias = self.alias(function)
        if alias is not None:
            yield alias
            yield from self.permissions(function, alias.alias)

    def _one(self, desired: Resource) -> Resource | None:  # noqa: C901, PLR0911 - one line per kind
        match desired:
            case Bucket():
                return self.bucket(desired.name)
            case Queue():
                return self.queue(desired.name)
            case LogGroup():
                return self.log_group(desired.name)
            case Role():
                return self.role(desired.name)
            case Repository():
                return self.repository(desired.name)
            case Image():
                return self.image(desired.repository, desired.tag)
            case Function():
                return self.function(desired.name)
            case FunctionUrl():
                return self.function_url(desired.name, desired.qualifier)
            case Trigger():
                return self.trigger(desired.queue, desired.function)
            case Permission() | Alias():
                # Read with their function.
                return None

    def bucket(self, name: str) -> Bucket | None:
        s3 = self._clients.s3
        if unless_missing(s3.get_bucket_location, Bucket=name) is None:
            return None
        tags = unless_missing(s3.get_bucket_tagging, Bucket=name)
        owner = {tag["Key"]: tag["Value"] for tag in tags["TagSet"]} if tags else {}
        block = unless_missing(s3.get_public_access_block, Bucket=name)
        rules = block["PublicAccessBlockConfiguration"] if block else {}
        private = all(
            rules.get(rule) is True
            for rule in (
                "BlockPublicAcls",
                "IgnorePublicAcls",
                "BlockPublicPolicy",
                "RestrictPublicBuckets",
            )
        )
        return Bucket(name, owner.get(TAG_KEY), private)

    def queue(self, name: str) -> Queue | None:
        sqs = self._clients.sqs
        url = self._account.queue_url(name)
        answer = unless_missing(sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
        if answer is None:
            return None
        attributes = answer["Attributes"]
        redrive = json.loads(attributes.get("RedrivePolicy") or "{}")
        policy = attributes.get("Policy")
        return Queue(
            name=name,
            owner=sqs.list_queue_tags(QueueUrl=url).get("Tags", {}).get(TAG_KEY),
            visibility_timeout=int(attributes["VisibilityTimeout"]),
            retention=int(attributes["MessageRetentionPeriod"]),
            receive_wait=int(attributes.get("ReceiveMessageWaitTimeSeconds", 0)),
            encrypted=attributes.get("SqsManagedSseEnabled", "false").lower() == "true",
            dead_letters_to=redrive.get("deadLetterTargetArn", ""),
            max_receives=int(redrive.get("maxReceiveCount", 0)),
            policy=canonical(policy) if policy else "",
        )

    def log_group(self, name: str) -> LogGroup | None:
        logs = self._clients.logs
        groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        group = next((group for group in groups if group["logGroupName"] == name), None)
        if group is None:
            return None
        tags = logs.list_tags_for_resource(resourceArn=self._account.log_group_arn(name))["tags"]
        return LogGroup(name, tags.get(TAG_KEY), group.get("retentionInDays", 0))

    def role(self, name: str) -> Role | None:
        iam = self._clients.iam
        answer = unless_missing(iam.get_role, RoleName=name)
        if answer is None:
            return None
        role = answer["Role"]
        tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags", [])}
        inline = unless_missing(iam.get_role_policy, RoleName=name, PolicyName=ROLE_POLICY)
        return Role(
            name=name,
            owner=tags.get(TAG_KEY),
            trust=canonical(role["AssumeRolePolicyDocument"]),
            policy=canonical(inline["PolicyDocument"]) if inline else "",
        )

    def repository(self, name: str) -> Repository | None:
        ecr = self._clients.ecr
        answer = unless_missing(ecr.describe_repositories, repositoryNames=[name])
        if answer is None:
            return None
        repository = answer["repositories"][0]
        arn = self._account.repository_arn(name)
        tags = {
            tag["Key"]: tag["Value"] for tag in ecr.list_tags_for_resource(resourceArn=arn)["tags"]
        }
        expiry = unless_missing(ecr.get_lifecycle_policy, repositoryName=name)
        rules = json.loads(expiry["lifecyclePolicyText"])["rules"] if expiry else []
        return Repository(
            name=name,
            owner=tags.get(TAG_KEY),
            immutable=repository.get("imageTagMutability") == "IMMUTABLE",
            kept=rules[0]["selection"].get("countNumber", 0) if rules else 0,
        )

    def image(self, repository: str, tag: str) -> Image | None:
        answer = unless_missing(
            self._clients.ecr.describe_images,
            repositoryName=repository,
            imageIds=[{"imageTag": tag}],
        )
        return Image(repository, tag) if answer and answer["imageDetails"] else None

    def function(self, name: str) -> Function | None:
        answer = unless_missing(self._clients.functions.get_function, FunctionName=name)
        if answer is None:
            return None
        configuration = answer["Configuration"]
        zipped = configuration.get("PackageType", "Zip") == "Zip"
        return Function(
            name=name,
            owner=answer.get("Tags", {}).get(TAG_KEY),
            demo=answer.get("Tags", {}).get(DEMO_TAG_KEY) == "true",
            packaging="zip" if zipped else "image",
            code=configuration["CodeSha256"] if zipped else answer["Code"].get("ImageUri", ""),
            handler=configuration.get("Handler", ""),
            runtime=configuration.get("Runtime", ""),
            role=configuration["Role"],
            memory=configuration["MemorySize"],
            timeout=configuration["Timeout"],
            architecture="arm64" if "arm64" in configuration["Architectures"] else "x86_64",
            environment=configuration.get("Environment", {}).get("Variables", {}),
            reserved_concurrency=answer.get("Concurrency", {}).get("ReservedConcurrentExecutions"),
        )

    def alias(self, function: str) -> Alias | None:
        """The alias of a function with provisioned concurrency."""
        functions = self._clients.functions
        alias = unless_missing(functions.get_alias, FunctionName=function, Name=ALIAS)
        if alias is None:
            return None
        version = alias["FunctionVersion"]
        published = functions.get_function_configuration(FunctionName=function, Qualifier=version)
        now = functions.get_function_configuration(FunctionName=function)
        same = all(published.get(name) == now.get(name) for name in _PUBLISHED)
        warm = unless_missing(
            functions.get_provisioned_concurrency_config, FunctionName=function, Qualifier=ALIAS
        )
        return Alias(
            function=function,
            alias=ALIAS,
            provisioned=warm["RequestedProvisionedConcurrentExecutions"] if warm else 0,
            version=CURRENT if same else version,
        )

    def function_url(self, name: str, preferred: str = "") -> FunctionUrl | None:
        """The URL at the qualifier `preferred`, or else the one at the other qualifier."""
        for qualifier in (preferred, "" if preferred else ALIAS):
            answer = self._url(name, qualifier)
            if answer is not None:
                auth: Auth = "none" if answer["AuthType"] == "NONE" else "iam"
                return FunctionUrl(name, auth, qualifier)
        return None

    def address(self, name: str) -> str | None:
        """The Function URL; on the local cloud, the address at which it answers."""
        answer = self._url(name, ALIAS) or self._url(name, "")
        if answer is None:
            return None
        url, endpoint = answer["FunctionUrl"], self._clients.deployment.endpoint_url
        if endpoint is None:
            return url
        # MiniStack returns an AWS host name that does not resolve; it serves the URL id here.
        identifier = url.partition("://")[2].partition(".")[0]
        return f"{endpoint}/_aws/lambda-url/{identifier}/"

    def _url(self, name: str, qualifier: str) -> GetFunctionUrlConfigResponseTypeDef | None:
        read = self._clients.functions.get_function_url_config
        if qualifier:
            return unless_missing(read, FunctionName=name, Qualifier=qualifier)
        return unless_missing(read, FunctionName=name)

    def permissions(self, function: str, qualifier: str = "") -> list[Permission]:
        """The policy statements that facectl added to the function, or to its alias."""
        read = self._clients.functions.get_policy
        answer = (
            unless_missing(read, FunctionName=function, Qualifier=qualifier)
            if qualifier
            else unless_missing(read, FunctionName=function)
        )
        statements = json.loads(answer["Policy"])["Statement"] if answer else []
        return [
            Permission(
                function=function,
                statement=statement["Sid"],
                action=statement["Action"],
                principal=_principal(statement["Principal"]),
                condition=canonical(statement.get("Condition", {})),
                qualifier=qualifier,
            )
            for statement in statements
            if statement.get("Sid", "").startswith(STATEMENT_PREFIX)
            # MiniStack returns the statements of aliases with those of the function.
            if _qualifier(statement.get("Resource", "")) == qualifier
        ]

    def trigger(self, queue: str, function: str) -> Trigger | None:
        mapping = self.mapping(queue, function)
        if mapping is None:
            return None
        arn = self._account.mapping_arn(mapping["UUID"])
        tags = self._clients.functions.list_tags(Resource=arn).get("Tags", {})
        return Trigger(
            function=function,
            queue=queue,
            owner=tags.get(TAG_KEY),
            batch_size=mapping.get("BatchSize", 0),
            window=mapping.get("MaximumBatchingWindowInSeconds", 0),
            max_concurrency=mapping.get("ScalingConfig", {}).get("MaximumConcurrency"),
            responses=tuple(mapping.get("FunctionResponseTypes", ())),
            enabled=mapping.get("State") not in ("Disabled", "Disabling"),
            qualifier=_qualifier(mapping["FunctionArn"]),
            pollers=_pollers(mapping),
        )

    def mapping(self, queue: str, function: str) -> EventSourceMappingConfigurationTypeDef | None:
        """The event source mapping of queue and function; None if missing or being deleted."""
        pages = self._clients.functions.get_paginator("list_event_source_mappings").paginate(
            EventSourceArn=queue
        )
        for page in pages:
            for mapping in page["EventSourceMappings"]:
                name = mapping["FunctionArn"].split(":function:")[1].split(":")[0]
                if name == function and mapping.get("State") != "Deleting":
                    return mapping
        return None


def _qualifier(function_arn: str) -> str:
    return function_arn.partition(":function:")[2].partition(":")[2]


def _pollers(mapping: EventSourceMappingConfigurationTypeDef) -> tuple[int, int] | None:
    config = mapping.get("ProvisionedPollerConfig")
    return (config["MinimumPollers"], config["MaximumPollers"]) if config else None


def _principal(principal: str | dict[str, str]) -> str:
    if isinstance(principal, str):
        return principal
    return next(iter(principal.values()))

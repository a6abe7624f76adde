"""An AWS that is as slow and as strict as its documentation says, in front of moto's.

`SlowAws` stands between botocore's clients and moto: it refuses calls that AWS refuses, in AWS's
words, and answers with the states that AWS passes through. Its clock advances with each call and
with each sleep of the code under test, so nothing really waits. The method of each rule names
the source of the rule; where no source gives a number or a bound, it says so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore import xform_name
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from fake_clock import FakeClock

# What a call takes, in seconds.
CALL_SECONDS = 0.2
CREATES = ("Create", "AddPermission")
READS = ("Get", "List", "Describe", "Head", "Simulate", "BatchGet")
# Calls of the data plane, which have other limits.
MESSAGES = ("SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessage", "PutObject")
EXPIRED = {
    "s3": ("ExpiredToken", "The provided token has expired."),
    "iam": ("ExpiredToken", "The security token included in the request is expired"),
    "sts": ("ExpiredToken", "The security token included in the request is expired"),
}
THROTTLED = {
    "lambda": ("TooManyRequestsException", "Rate exceeded"),
    "sqs": ("RequestThrottled", "Rate exceeded"),
    "s3": ("SlowDown", "Please reduce your request rate."),
}
PENDING = (
    "The operation cannot be performed at this time. "
    "The function is currently in the following state: Pending"
)
IN_PROGRESS = (
    "The operation cannot be performed at this time. An update is in progress for resource: {}"
)


@dataclass(frozen=True)
class Rules:
    """How slow, and how strict. Times in seconds; 0: moto's behaviour."""

    role_seconds: float = 0
    policy_seconds: float = 0
    pending_seconds: float = 0
    update_seconds: float = 0
    fails_once: bool = False
    url_seconds: float = 0
    queue_seconds: float = 0
    deleting_seconds: float = 0
    mapping_seconds: float = 0
    lag_seconds: float = 0
    throttle_every: int = 0
    lose_answers: bool = False
    # The number of the call with which the session expires; 0: it does not.
    expires_at: int = 0
    limit: int = 1000
    # The most memory of a function, in MB.
    memory: int = 10_240
    learner_lab: bool = False


@dataclass
class SlowAws:
    """The state of the account as the rules see it; `install` puts it before moto."""

    rules: Rules
    clock: FakeClock = field(default_factory=FakeClock)
    calls: list[str] = field(default_factory=list)
    changes: int = 0
    expired: bool = False
    is_outside: bool = False
    has_failed: bool = False
    # When something was made, changed or deleted, by what it is.
    made: dict[tuple[str, str], float] = field(default_factory=dict)
    gone: dict[tuple[str, str], float] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    # Functions that were not invoked for weeks.
    idle: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    reserved: dict[str, int] = field(default_factory=dict)
    # Queues that are being deleted: until when, and moto's deletion of them.
    deleting: dict[str, tuple[float, Callable[[], Any]]] = field(default_factory=dict)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let every client of botocore call through these rules."""
        original = BaseClient._make_api_call  # type: ignore[attr-defined]

        def call(client: Any, operation: str, arguments: Any) -> Any:
            if self.is_outside:
                return original(client, operation, arguments)
            service = client.meta.service_model.signing_name
            return self._call(
                service, operation, arguments, lambda: original(client, operation, arguments)
            )

        patch.setattr(BaseClient, "_make_api_call", call)

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Let the block call without rules: it is the functions' own, or the test's."""
        self.is_outside = True
        try:
            yield
        finally:
            self.is_outside = False

    def renew(self) -> None:
        """Give the caller new credentials, which do not expire."""
        self.expired, self.rules = False, Rules(**{**vars(self.rules), "expires_at": 0})

    def wake(self, name: str) -> bool:
        """Invoke a function; false if it was inactive: then it is Pending from now on.

        Source: Lambda Developer Guide, "Lambda function states". For how long is not said.
        """
        if name not in self.idle:
            return True
        self.idle.discard(name)
        self.made["function", name] = self.clock()
        return False

    def url_status(self) -> int:
        """What the Function URL answers now: 404, then 403, then 200.

        Source: none gives a bound. The Lambda Developer Guide, "Control access to Lambda function
        URLs", says which statements are needed; IAM User Guide, "Troubleshoot IAM", says that
        changes are not immediately visible.
        """
        made = self.made.get(("url", "face-detection"))
        if made is None or self.clock() < made + self.rules.url_seconds / 2:
            return 404
        return 403 if self.clock() < made + self.rules.url_seconds else 200

    def _call(self, service: str, operation: str, arguments: Any, moto: Callable[[], Any]) -> Any:
        self.clock.now += CALL_SECONDS
        self.calls.append(f"{service}:{operation}")
        self._finish_deletions()
        self._expire(service, operation)
        if not operation.startswith((*READS, *MESSAGES)):
            self._throttle(service, operation)
        if service == "iam" and self.rules.learner_lab:
            self._restrict(operation)
        before = getattr(self, f"_before_{xform_name(operation)}", None)
        if before is not None:
            before(arguments)
        if operation == "GetAccountSettings":
            return self._account_settings()
        if operation == "DeleteQueue" and self.rules.deleting_seconds:
            answer = self._begin_deletion(arguments["QueueUrl"].rpartition("/")[2], moto)
        else:
            answer = moto()
        after = getattr(self, f"_after_{xform_name(operation)}", None)
        if after is not None:
            answer = after(arguments, answer) or answer
        self._lose(service, operation, before, arguments, moto)
        return answer

    # Every call.

    def _expire(self, service: str, operation: str) -> None:
        """Source: IAM User Guide, "Temporary security credentials in IAM": after they expire,
        AWS no longer recognises them. The codes differ by protocol: STS API Reference, "Common
        errors", and Lambda API Reference, "Common errors"."""
        at = self.rules.expires_at
        self.expired = self.expired or bool(at and len(self.calls) >= at)
        if self.expired:
            default = (
                "ExpiredTokenException",
                "The security token included in the request is expired",
            )
            refuse(operation, *EXPIRED.get(service, default), status=403)

    def _throttle(self, service: str, operation: str) -> None:
        """Source: Lambda Developer Guide, "Lambda quotas", API requests: 15 control calls a
        second; Amazon S3, "503 Slow Down"; SQS Developer Guide, "Common errors". This is what is
        left after botocore's own repeats."""
        self.changes += 1
        every = self.rules.throttle_every
        if every and self.changes % every == 0:
            refuse(
                operation,
                *THROTTLED.get(service, ("ThrottlingException", "Rate exceeded")),
                status=429,
            )

    def _lose(
        self, service: str, operation: str, before: Any, arguments: Any, moto: Callable[[], Any]
    ) -> None:
        """An answer of a create call is lost, and botocore calls again.

        Source: AWS SDKs and Tools Reference Guide, "Retry behavior": connection errors and 5xx
        are retried, whatever the service has done already."""
        name = f"{service}:{operation}"
        if self.rules.lose_answers and operation.startswith(CREATES) and name not in self.lost:
            self.lost.add(name)
            if before is not None:
                before(arguments)
            moto()

    # A learner lab of AWS Academy.

    def _after_get_caller_identity(self, _arguments: Any, answer: Any) -> Any:
        if not self.rules.learner_lab:
            return answer
        arn = f"arn:aws:sts::{answer['Account']}:assumed-role/voclabs/user1=Ada"
        return {**answer, "Arn": arn}

    def _restrict(self, operation: str) -> None:
        """Source: AWS Academy Learner Lab, "Service usage and other restrictions": roles can't be
        created, LabRole exists. Which reads of IAM are allowed is not said; here none is."""
        refuse(
            operation,
            "AccessDenied",
            f"User is not authorized to perform: iam:{operation} with an explicit deny",
            status=403,
        )

    # IAM.

    def _after_create_role(self, arguments: Any, _answer: Any) -> None:
        self.made["role", arguments["RoleName"]] = self.clock()

    def _after_put_role_policy(self, arguments: Any, _answer: Any) -> None:
        self.made["policy", arguments["RoleName"]] = self.clock()

    def _check_role(self, operation: str, arn: str) -> None:
        """Source: IAM User Guide, "Troubleshoot IAM", "Changes that I make are not always
        immediately visible"; the words: aws/aws-sdk-js issue 3498."""
        if self._is_young("role", arn.rpartition("/")[2], self.rules.role_seconds):
            refuse(
                operation,
                "InvalidParameterValueException",
                "The role defined for the function cannot be assumed by Lambda.",
            )

    # Lambda's functions.

    def _check_memory(self, operation: str, arguments: Any) -> None:
        """Source: Lambda Developer Guide, "Lambda quotas": new accounts have reduced memory
        quotas; the number and the words: awslabs/genai-bedrock-agent-chatbot issue 4."""
        if arguments["MemorySize"] > self.rules.memory:
            refuse(
                operation,
                "ValidationException",
                "'MemorySize' value failed to satisfy constraint: "
                f"Member must have value less than or equal to {self.rules.memory}",
            )

    def _before_create_function(self, arguments: Any) -> None:
        name = arguments["FunctionName"]
        self._check_role("CreateFunction", arguments["Role"])
        self._check_memory("CreateFunction", arguments)
        if ("function", name) in self.made:
            conflict("CreateFunction", f"Function already exist: {name}")

    def _after_create_function(self, arguments: Any, _answer: Any) -> None:
        name = arguments["FunctionName"]
        self.made["function", name] = self.clock()
        if self.rules.fails_once and not self.has_failed:
            self.has_failed = True
            self.failed.add(name)

    def _after_delete_function(self, arguments: Any, _answer: Any) -> None:
        name = arguments["FunctionName"]
        for kind in ("function", "update", "url"):
            self.made.pop((kind, name), None)
        for sid in [key for key in self.made if key[0] == "statement" and key[1].startswith(name)]:
            del self.made[sid]
        self.failed.discard(name)
        self.reserved.pop(name, None)

    def _states(self, name: str) -> dict[str, str]:
        """Source: Lambda Developer Guide, "Lambda function states": Pending while it is created,
        then Active or Failed; LastUpdateStatus is InProgress during an update."""
        if self._is_young("function", name, self.rules.pending_seconds):
            return {"State": "Pending", "StateReason": "The function is being created."}
        if name in self.idle:
            return {"State": "Inactive", "StateReasonCode": "Idle"}
        if name in self.failed:
            reason = {
                "StateReason": "The image could not be read.",
                "StateReasonCode": "InvalidImage",
            }
            return {"State": "Failed", **reason}
        updating = self._is_young("update", name, self.rules.update_seconds)
        return {"State": "Active", "LastUpdateStatus": "InProgress" if updating else "Successful"}

    def _after_get_function(self, arguments: Any, answer: Any) -> Any:
        return {
            **answer,
            "Configuration": {**answer["Configuration"], **self._states(arguments["FunctionName"])},
        }

    def _check_state(self, operation: str, name: str) -> None:
        """Source: Lambda Developer Guide, "Lambda function states": calls that operate on a
        function that is Pending or being updated fail. Which of them do is not listed; here all
        that change it do. The words: turnerlabs/udeploy issue 52."""
        states = self._states(name)
        if states["State"] == "Pending":
            conflict(operation, PENDING)
        if states.get("LastUpdateStatus") == "InProgress":
            conflict(operation, IN_PROGRESS.format(name))

    def _before_update_function_code(self, arguments: Any) -> None:
        self._check_state("UpdateFunctionCode", arguments["FunctionName"])

    def _before_update_function_configuration(self, arguments: Any) -> None:
        self._check_role("UpdateFunctionConfiguration", arguments["Role"])
        self._check_memory("UpdateFunctionConfiguration", arguments)
        self._check_state("UpdateFunctionConfiguration", arguments["FunctionName"])

    def _after_update_function_code(self, arguments: Any, _answer: Any) -> None:
        self.made["update", arguments["FunctionName"]] = self.clock()

    _after_update_function_configuration = _after_update_function_code

    # Concurrency.

    def _account_settings(self) -> dict[str, Any]:
        unreserved = self.rules.limit - sum(self.reserved.values())
        limits = {
            "ConcurrentExecutions": self.rules.limit,
            "UnreservedConcurrentExecutions": unreserved,
        }
        return {"AccountLimit": limits}

    def _before_put_function_concurrency(self, arguments: Any) -> None:
        """Source: Lambda Developer Guide, "Configuring reserved concurrency": 100 stay
        unreserved; the words, and that smaller accounts keep all: aws-samples/
        one-observability-demo issue 278."""
        name, count = arguments["FunctionName"], arguments["ReservedConcurrentExecutions"]
        self._check_state("PutFunctionConcurrency", name)
        others = sum(value for each, value in self.reserved.items() if each != name)
        least = min(100, self.rules.limit)
        if self.rules.limit - others - count < least:
            refuse(
                "PutFunctionConcurrency",
                "InvalidParameterValueException",
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{least}].",
            )
        self.reserved[name] = count

    # URL and permissions.

    def _before_create_function_url_config(self, arguments: Any) -> None:
        name = arguments["FunctionName"]
        self._check_state("CreateFunctionUrlConfig", name)
        if ("url", name) in self.made:
            conflict(
                "CreateFunctionUrlConfig",
                f"Failed to create function url config for [functionArn = {name}]. "
                "Error message:  FunctionUrlConfig exists for this Lambda function",
            )

    def _after_create_function_url_config(self, arguments: Any, _answer: Any) -> None:
        self.made["url", arguments["FunctionName"]] = self.clock()

    def _after_delete_function_url_config(self, arguments: Any, _answer: Any) -> None:
        self.made.pop(("url", arguments["FunctionName"]), None)

    def _before_add_permission(self, arguments: Any) -> None:
        """The words: cargo-lambda/cargo-lambda issue 261."""
        name, sid = arguments["FunctionName"], arguments["StatementId"]
        self._check_state("AddPermission", name)
        if ("statement", f"{name}/{sid}") in self.made:
            conflict(
                "AddPermission",
                f"The statement id ({sid}) provided already exists. Please provide a new "
                "statement id, or remove the existing statement.",
            )

    def _after_add_permission(self, arguments: Any, _answer: Any) -> None:
        key = f"{arguments['FunctionName']}/{arguments['StatementId']}"
        self.made["statement", key] = self.clock()

    def _after_remove_permission(self, arguments: Any, _answer: Any) -> None:
        key = f"{arguments['FunctionName']}/{arguments['StatementId']}"
        self.made.pop(("statement", key), None)

    # The event source mapping.

    def _before_create_event_source_mapping(self, arguments: Any) -> None:
        """Source: Lambda API Reference, CreateEventSourceMapping, ResourceConflictException and
        InvalidParameterValueException; the policy of a role is as late as the role."""
        if self._is_young_policy():
            refuse(
                "CreateEventSourceMapping",
                "InvalidParameterValueException",
                "The provided execution role does not have permissions to call ReceiveMessage on "
                "SQS",
            )
        queue = arguments["EventSourceArn"]
        deleting = (
            self.clock() < self.gone.get(("mapping", queue), -1e9) + self.rules.mapping_seconds
        )
        if deleting or ("mapping", queue) in self.made:
            conflict(
                "CreateEventSourceMapping",
                f'An event source mapping with SQS arn (" {queue} ") and function '
                f'(" {arguments["FunctionName"]} ") already exists. Please update or delete the '
                "existing mapping with UUID 0",
            )

    def _after_create_event_source_mapping(self, arguments: Any, _answer: Any) -> None:
        self.made["mapping", arguments["EventSourceArn"]] = self.clock()

    def _after_delete_event_source_mapping(self, _arguments: Any, answer: Any) -> None:
        queue = answer["EventSourceArn"]
        self.made.pop(("mapping", queue), None)
        self.gone["mapping", queue] = self.clock()

    def _after_list_event_source_mappings(self, _arguments: Any, answer: Any) -> Any:
        """Source of the states: Lambda API Reference, EventSourceMappingConfiguration. That the
        list lags behind is assumed."""
        kept = []
        for mapping in answer["EventSourceMappings"]:
            queue = mapping["EventSourceArn"]
            if self._is_young("mapping", queue, self.rules.lag_seconds):
                continue
            creating = self._is_young("mapping", queue, self.rules.mapping_seconds)
            kept.append({**mapping, "State": "Creating" if creating else "Enabled"})
        return {**answer, "EventSourceMappings": kept}

    # Queues, logs and buckets.

    def _before_create_queue(self, arguments: Any) -> None:
        """Source: SQS API Reference, CreateQueue: a queue can be used after one second, and a
        name again 60 s after its queue was deleted; the words: hashicorp/terraform-provider-aws
        pull request 3113 and serverless/serverless issue 5215."""
        name = arguments["QueueName"]
        if self.clock() < self.gone.get(("queue", name), -1e9) + 60:
            refuse(
                "CreateQueue",
                "AWS.SimpleQueueService.QueueDeletedRecently",
                "You must wait 60 seconds after deleting a queue before you can create another "
                "with the same name.",
            )
        redrive = arguments.get("Attributes", {}).get("RedrivePolicy")
        target = json.loads(redrive)["deadLetterTargetArn"].rpartition(":")[2] if redrive else ""
        if self._is_young("queue", target, self.rules.queue_seconds):
            refuse(
                "CreateQueue",
                "InvalidParameterValue",
                f"Value {redrive} for parameter RedrivePolicy is invalid. "
                "Reason: Dead letter target does not exist.",
            )

    def _after_create_queue(self, arguments: Any, _answer: Any) -> None:
        self.made.setdefault(("queue", arguments["QueueName"]), self.clock())

    def _after_delete_queue(self, arguments: Any, _answer: Any) -> None:
        name = arguments["QueueUrl"].rpartition("/")[2]
        if self.made.pop(("queue", name), None) is not None:
            self.gone["queue", name] = self.clock()

    def _begin_deletion(self, name: str, moto: Callable[[], Any]) -> dict[str, Any]:
        """Source: SQS API Reference, DeleteQueue: deleting takes up to 60 seconds, in which
        requests for the queue might succeed; afterwards neither it nor their effects exist."""
        if name not in self.deleting:
            if ("queue", name) not in self.made:
                return dict(moto())
            self.deleting[name] = (self.clock() + self.rules.deleting_seconds, moto)
        return {}

    def _finish_deletions(self) -> None:
        over = [name for name, (until, _) in self.deleting.items() if self.clock() >= until]
        for name in over:
            self.deleting.pop(name)[1]()

    def _after_create_log_group(self, arguments: Any, _answer: Any) -> None:
        self.made["log", arguments["logGroupName"]] = self.clock()

    def _after_describe_log_groups(self, _arguments: Any, answer: Any) -> Any:
        """That the list lags behind is assumed."""
        seen = [
            group
            for group in answer["logGroups"]
            if not self._is_young("log", group["logGroupName"], self.rules.lag_seconds)
        ]
        return {**answer, "logGroups": seen}

    def _after_delete_bucket(self, arguments: Any, _answer: Any) -> None:
        self.gone["bucket", arguments["Bucket"]] = self.clock()

    def _before_create_bucket(self, arguments: Any) -> None:
        """Source: Amazon S3 API Reference, "Error responses", OperationAborted. For how long is
        not said; here as long as lists lag behind."""
        gone = self.gone.get(("bucket", arguments["Bucket"]), -1e9)
        if self.clock() < gone + self.rules.lag_seconds:
            refuse(
                "CreateBucket",
                "OperationAborted",
                "A conflicting conditional operation is currently in progress against this "
                "resource. Please try again.",
                status=409,
            )

    def _is_young(self, kind: str, name: str, seconds: float) -> bool:
        made = self.made.get((kind, name))
        return made is not None and self.clock() < made + seconds

    def _is_young_policy(self) -> bool:
        return any(
            self._is_young("policy", name, self.rules.policy_seconds)
            for kind, name in self.made
            if kind == "policy"
        )


def conflict(operation: str, text: str) -> None:
    """Raise Lambda's ResourceConflictException."""
    refuse(operation, "ResourceConflictException", text, status=409)


def refuse(operation: str, code: str, text: str, *, status: int = 400) -> None:
    """Raise what botocore raises for an error of AWS."""
    answer: Any = {
        "Error": {"Code": code, "Message": text},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    raise ClientError(answer, operation)

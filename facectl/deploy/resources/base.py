"""The base classes of all kinds of resources, and the context in which they are applied."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeAlias, TypeVar

from facectl.aws import ClientError, Clients
from facectl.aws_errors import error_code, error_message, is_overloaded
from facectl.deploy.models import Account
from facectl.naming import TAG_KEY
from facectl.retry import Backoff, exponential

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")
# The kind and the name of a resource.
Key: TypeAlias = tuple[str, str]

# IAM, Lambda and SQS are eventually consistent: a change becomes visible after seconds.
_RETRY_SECONDS = 90.0
_RETRY_INTERVAL = 2.0
# Transient errors: error code, and parts of the message if the code has other meanings too.
_TRANSIENT: dict[str, tuple[str, ...]] = {
    # A new role, its policy, or a new queue is not visible to Lambda yet.
    "InvalidParameterValueException": (
        "cannot be assumed",
        "does not have permissions to call",
        "KMS key is invalid for CreateGrant",
        "NonExistentQueue",
    ),
    # A queue can be used a second after it was created (SQS API Reference, CreateQueue).
    "InvalidParameterValue": ("Dead letter target does not exist",),
    "ResourceInUseException": ("",),
    # The name of a bucket that is being deleted or created; the same of log groups.
    "OperationAborted": ("",),
    "OperationAbortedException": ("",),
    "BucketNotEmpty": ("",),
    # SQS allows a name again 60 s after its queue was deleted.
    "AWS.SimpleQueueService.QueueDeletedRecently": ("",),
    "QueueDeletedRecently": ("",),
}
_NAME_TAKEN = "SQS frees the name of a deleted queue after a minute"
# What is told while a call is repeated, by error code.
_WAITING = {
    "AWS.SimpleQueueService.QueueDeletedRecently": _NAME_TAKEN,
    "QueueDeletedRecently": _NAME_TAKEN,
}


# ResourceConflictException means that something exists, or that a change is in progress.
_CONFLICT = "ResourceConflictException"
_EXISTS = ("already exist", "exists for this")
# An event source mapping that is being deleted still exists.
_EXISTS_FOR_NOW = "existing mapping"


@dataclass(frozen=True)
class Context:
    """The account in which resources are read and written; clock and sleep in seconds."""

    clients: Clients
    account: Account
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    # `tell` receives transient progress, `note` lines to keep, `count` the bytes that were sent
    # and those to be sent.
    tell: Callable[[str], None] = lambda _line: None
    note: Callable[[str], None] = lambda _line: None
    count: Callable[[int, int], None] = lambda _done, _total: None

    def retry(self, call: Callable[[], T]) -> T:
        """Return `call()`; repeat it for up to 90 s while it raises a transient error."""

        def waits(error: Exception) -> bool:
            if not isinstance(error, ClientError) or not _is_transient(error):
                return False
            self.tell(_WAITING.get(error_code(error), f"waits: {error_code(error)}"))
            return True

        return Backoff(
            delay=exponential(_RETRY_INTERVAL, _RETRY_INTERVAL),
            limit=_RETRY_SECONDS,
            is_transient=waits,
            clock=self.clock,
            sleep=self.sleep,
        ).call(call)

    def call(self, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer of a client's method, called as `retry` does."""
        return self.retry(lambda: method(*args, **kwargs))


@dataclass(frozen=True, slots=True)
class Resource(ABC):
    """A desired or an actual resource; drift is the difference of their fields.

    The methods that take a context call AWS and raise botocore's errors. Only the
    executor calls `create`, `update` and `delete`; they can be repeated after an interruption.
    """

    kind: ClassVar[str]
    # The fields that AWS can't change in place.
    fixed: ClassVar[frozenset[str]] = frozenset()
    # Whether it is read even if it is not desired, and is then deleted.
    pruned: ClassVar[bool] = False
    # The fields that `create` sets by later calls than the first.
    set_later: ClassVar[frozenset[str]] = frozenset()

    @property
    @abstractmethod
    def name(self) -> str:
        """The name, unique among the resources of the kind."""

    def read(self, _context: Context) -> Self | None:
        """The actual resource; None if there is none, or if it is read with its function."""
        return None

    def current(self, context: Context) -> Self | None:
        """The actual resource, also of a kind whose `read` leaves it out; None if there is none."""
        return self.read(context)

    @abstractmethod
    def create(self, context: Context) -> None:
        """Create the missing resource."""

    @abstractmethod
    def update(self, context: Context, actual: Self) -> None:
        """Change the resource from `actual` to this one."""

    @abstractmethod
    def delete(self, context: Context) -> None:
        """Delete the resource; a missing resource is not an error."""

    def facts(self, _context: Context) -> dict[str, Any]:
        """The facts that `facectl status` reports in addition to the fields."""
        return {}


@dataclass(frozen=True, slots=True)
class Tagged(Resource):
    """A resource with an owner: the value of its tag `facectl:asu-id`, None without the tag."""

    # Whether the name is the same for every ASU ID.
    shared: ClassVar[bool] = False

    # Without field() the inherited property would be the default.
    name: str = field()
    owner: str | None

    def belongs_to(self, asu_id: str | None) -> bool:
        """Whether the deployment of the ASU ID may change the resource."""
        return self.owner == asu_id


@dataclass(frozen=True, slots=True)
class Attached(Resource):
    """A resource that is part of another one: it has that one's owner, and is deleted with it."""

    # Whether AWS keeps it when its parent is deleted.
    outlives_parent: ClassVar[bool] = False

    @property
    @abstractmethod
    def parent(self) -> Key:
        """The key of the resource that it is part of."""


def key(resource: Resource) -> Key:
    """The unique key of a resource in a deployment."""
    return resource.kind, resource.name


def tags(owner: str | None) -> dict[str, str]:
    """The owner tag as a mapping; empty without an owner."""
    return {} if owner is None else {TAG_KEY: owner}


def tag_list(owner: str | None) -> list[Any]:
    """The owner tag as the list that ECR, IAM and S3 take; empty without an owner."""
    return [{"Key": name, "Value": value} for name, value in tags(owner).items()]


def owner_tag(found: Iterable[Mapping[str, Any]]) -> str | None:
    """The value of the owner tag in a list of ECR, IAM or S3; None without the tag."""
    return next((tag["Value"] for tag in found if tag["Key"] == TAG_KEY), None)


def canonical(document: str | Mapping[str, object]) -> str:
    """A policy as JSON with sorted keys and no spaces, so that equal policies compare equal."""
    parsed = json.loads(document) if isinstance(document, str) else document
    return json.dumps(parsed, sort_keys=True, separators=(",", ":"))


def policy(*statements: dict[str, Any]) -> str:
    """A canonical policy of these statements."""
    return canonical({"Version": "2012-10-17", "Statement": list(statements)})


def refuse_plain_http(actions: str, *resources: str) -> dict[str, Any]:
    """The statement with which a resource's policy denies calls without TLS."""
    return {
        "Sid": "RefusePlainHttp",
        "Effect": "Deny",
        "Principal": "*",
        "Action": actions,
        "Resource": resources[0] if len(resources) == 1 else list(resources),
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def is_existing(error: ClientError) -> bool:
    """Whether Lambda refuses to create something because it exists."""
    text = error_message(error)
    return error_code(error) == _CONFLICT and any(words in text for words in _EXISTS)


def is_in_progress(error: ClientError) -> bool:
    """Whether Lambda refuses a change because another change of the same thing is in progress."""
    return error_code(error) == _CONFLICT and not is_existing(error)


def _is_transient(error: ClientError) -> bool:
    if is_overloaded(error) or is_in_progress(error):
        return True
    text = error_message(error)
    if error_code(error) == _CONFLICT:
        return _EXISTS_FOR_NOW in text
    return any(words in text for words in _TRANSIENT.get(error_code(error), ()))

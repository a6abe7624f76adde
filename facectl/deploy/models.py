"""The resources of a deployment: one frozen dataclass per kind. No I/O.

Desired and actual resources have the same types, so drift is a comparison of their
fields. `owner` is the value of the tag `facectl:asu-id`; None without the tag.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from facectl.context import Target
from facectl.deploy.recipe import Architecture, Recipe

Packaging = Literal["zip", "image"]
Auth = Literal["iam", "none"]

# The alias of a function with provisioned concurrency.
ALIAS = "live"
# The `version` of an alias whose version equals the unpublished function.
CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The bucket of the gallery; never public."""

    kind: ClassVar[str] = "bucket"
    name: str
    owner: str | None
    private: bool = True


@dataclass(frozen=True, slots=True)
class Queue:
    """An SQS queue. Times in seconds; `policy` is a JSON document with sorted keys, or empty."""

    kind: ClassVar[str] = "queue"
    name: str
    owner: str | None
    visibility_timeout: int
    retention: int
    receive_wait: int = 0
    encrypted: bool = True
    dead_letters_to: str = ""
    max_receives: int = 0
    policy: str = ""


@dataclass(frozen=True, slots=True)
class LogGroup:
    """A function's log group; 0 days: kept forever."""

    kind: ClassVar[str] = "log group"
    name: str
    owner: str | None
    retention_days: int


@dataclass(frozen=True, slots=True)
class Role:
    """A function's execution role: trust policy and inline policy, JSON with sorted keys."""

    kind: ClassVar[str] = "role"
    name: str
    owner: str | None
    trust: str
    policy: str


@dataclass(frozen=True, slots=True)
class Repository:
    """The ECR repository of a function's images.

    `immutable`: tags can't be overwritten. `kept`: the number of newest images to keep.
    """

    kind: ClassVar[str] = "repository"
    name: str
    owner: str | None
    immutable: bool = True
    kept: int = 10


@dataclass(frozen=True, slots=True)
class Image:
    """A pushed image; its tag is the hash of its contents.

    `recipe` is what it is built from; None for an image that was read from ECR.
    """

    kind: ClassVar[str] = "image"
    repository: str
    tag: str
    recipe: Recipe | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Function:
    """A Lambda function.

    `code` is the base64 sha256 of a zip, or the URI of an image. `memory` in
    MB, `timeout` in seconds. `reserved_concurrency` None: the account's limit.
    `archive` is the zip to upload. `demo`: another deployment may replace it.
    """

    kind: ClassVar[str] = "function"
    name: str
    owner: str | None
    packaging: Packaging
    code: str
    handler: str
    runtime: str
    role: str
    memory: int
    timeout: int
    architecture: Architecture
    environment: Mapping[str, str]
    reserved_concurrency: int | None = None
    archive: bytes = field(default=b"", repr=False, compare=False)
    demo: bool = False


@dataclass(frozen=True, slots=True)
class Alias:
    """An alias of a published version, with `provisioned` provisioned concurrency.

    `version` is `current` if the version equals the unpublished function, else its number.
    """

    kind: ClassVar[str] = "alias"
    function: str
    alias: str
    provisioned: int
    version: str = CURRENT

    @property
    def name(self) -> str:
        return f"{self.function}:{self.alias}"


@dataclass(frozen=True, slots=True)
class FunctionUrl:
    """The Function URL of `name`, or of its alias `qualifier`."""

    kind: ClassVar[str] = "function URL"
    name: str
    auth: Auth
    qualifier: str = ""


@dataclass(frozen=True, slots=True)
class Permission:
    """One statement of the resource policy of `function`, or of its alias `qualifier`."""

    kind: ClassVar[str] = "permission"
    function: str
    statement: str
    action: str
    principal: str
    condition: str
    qualifier: str = ""

    @property
    def name(self) -> str:
        return f"{qualified(self.function, self.qualifier)}/{self.statement}"


@dataclass(frozen=True, slots=True)
class Trigger:
    """The event source mapping from `queue` (an ARN) to `function`; the window is in seconds.

    Its concurrency is limited by `max_concurrency` or by provisioned `pollers` (minimum, maximum).
    """

    kind: ClassVar[str] = "trigger"
    function: str
    queue: str
    owner: str | None
    batch_size: int
    window: int
    max_concurrency: int | None
    responses: tuple[str, ...] = ("ReportBatchItemFailures",)
    enabled: bool = True
    qualifier: str = ""
    pollers: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return f"{self.queue.rpartition(':')[2]} → {self.function}"


Resource: TypeAlias = (
    Bucket
    | Queue
    | LogGroup
    | Role
    | Repository
    | Image
    | Function
    | Alias
    | FunctionUrl
    | Permission
    | Trigger
)
Key: TypeAlias = tuple[str, str]


def qualified(function: str, qualifier: str) -> str:
    """The function's name with its qualifier, as in Lambda's API and ARNs."""
    return f"{function}:{qualifier}" if qualifier else function


def key(resource: Resource) -> Key:
    """The unique key of a resource in a deployment."""
    return resource.kind, resource.name


@dataclass(frozen=True, slots=True)
class Change:
    """One differing attribute, as text."""

    attribute: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.attribute} {self.before} → {self.after}"


@dataclass(frozen=True, slots=True)
class Create:
    """Create a missing resource."""

    verb: ClassVar[str] = "create"
    resource: Resource


@dataclass(frozen=True, slots=True)
class Update:
    """Update `actual` to `resource`."""

    verb: ClassVar[str] = "update"
    resource: Resource
    actual: Resource
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    """Delete and create again a resource that AWS can't update in place."""

    verb: ClassVar[str] = "replace"
    resource: Resource
    actual: Resource
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a resource that is not in the desired state."""

    verb: ClassVar[str] = "delete"
    resource: Resource


Step: TypeAlias = Create | Update | Replace | Delete


def changes(step: Step) -> tuple[Change, ...]:
    """The attribute changes of a step; empty for create and delete."""
    return step.changes if isinstance(step, (Update, Replace)) else ()


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account (twelve digits) in one region, with its queue endpoint and registry."""

    number: str
    region: str
    queue_endpoint: str
    registry: str
    partition: str = "aws"

    def queue_url(self, name: str) -> str:
        return f"{self.queue_endpoint}/{self.number}/{name}"

    def queue_arn(self, name: str) -> str:
        return f"arn:{self.partition}:sqs:{self.region}:{self.number}:{name}"

    def role_arn(self, name: str) -> str:
        return f"arn:{self.partition}:iam::{self.number}:role/{name}"

    def function_arn(self, name: str) -> str:
        return f"arn:{self.partition}:lambda:{self.region}:{self.number}:function:{name}"

    def mapping_arn(self, identifier: str) -> str:
        arn = f"arn:{self.partition}:lambda:{self.region}:{self.number}"
        return f"{arn}:event-source-mapping:{identifier}"

    def log_group_arn(self, name: str) -> str:
        return f"arn:{self.partition}:logs:{self.region}:{self.number}:log-group:{name}"

    def image_uri(self, name: str) -> str:
        return f"{self.registry}/{name}"

    def repository_arn(self, name: str) -> str:
        return f"arn:{self.partition}:ecr:{self.region}:{self.number}:repository/{name}"

    def bucket_arn(self, name: str) -> str:
        return f"arn:{self.partition}:s3:::{name}"


@dataclass(frozen=True, slots=True)
class TargetCloud:
    """The defaults and abilities in which the targets differ.

    `detection_concurrency`: reserved for face-detection. `recognition_concurrency`:
    batches in flight (at least 2 on AWS). `threads` None: one per vCPU of the
    memory size. `https_only`: queue policies deny plain HTTP. `batches_by_name`: a
    policy must name SendMessageBatch beside SendMessage.
    """

    target: Target
    packaging: Packaging
    auth: Auth
    detection_concurrency: int | None
    recognition_concurrency: int
    threads: int | None
    https_only: bool
    batches_by_name: bool


@dataclass(frozen=True, slots=True)
class Package:
    """The code of one function: a zip or an image.

    `digest` is a zip's base64 sha256 or an image's URI. `tag` and `recipe` are
    set if facectl builds the image.
    """

    packaging: Packaging
    digest: str
    archive: bytes = field(default=b"", repr=False)
    tag: str = ""
    recipe: Recipe | None = None


@dataclass(frozen=True, slots=True)
class Packages:
    """The packages of the two functions."""

    detection: Package
    recognition: Package


@dataclass(frozen=True, slots=True)
class Sizing:
    """Memory in MB, timeout in seconds, and concurrency of the functions."""

    memory: int = 3008
    timeout: int = 60
    batch_size: int = 10
    architecture: Architecture = "x86_64"
    reserved_concurrency: int | None = None
    provisioned_concurrency: int | None = None
    max_concurrency: int | None = None
    pollers: tuple[int, int] | None = None

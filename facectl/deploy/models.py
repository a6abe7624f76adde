"""The inputs of a plan: account, target, packages, sizing, and all of them as the desired state.

Frozen dataclasses without I/O; the resources are in `facectl/deploy/resources/`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from facectl.context import Target
from facectl.deploy.recipe import Architecture, Recipe
from facectl.naming import Names
from lambda_src.log import METRICS_VARIABLE
from lambda_src.settings import MB_PER_VCPU

Packaging = Literal["zip", "image"]
Auth = Literal["iam", "none"]

# The alias of a function with provisioned concurrency.
ALIAS = "live"
# The value of `--alarms` and of `--kms-key` that removes them.
OFF = "off"


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

    def topic_arn(self, name: str) -> str:
        return f"arn:{self.partition}:sns:{self.region}:{self.number}:{name}"

    def alarm_arn(self, name: str) -> str:
        return f"arn:{self.partition}:cloudwatch:{self.region}:{self.number}:alarm:{name}"

    def dashboard_arn(self, name: str) -> str:
        return f"arn:{self.partition}:cloudwatch::{self.number}:dashboard/{name}"

    def budget_arn(self, name: str) -> str:
        return f"arn:{self.partition}:budgets::{self.number}:budget/{name}"

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
    memory size. `https_only`: policies of queues and bucket deny plain HTTP. `batches_by_name`: a
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
    set if facectl builds the image. `recorded`: the digest of the image that the last deploy
    with this tag recorded; empty if there is none.
    """

    packaging: Packaging
    digest: str
    archive: bytes = field(default=b"", repr=False)
    tag: str = ""
    recipe: Recipe | None = None
    recorded: str = ""

    @classmethod
    def zipped(cls, archive: bytes) -> Package:
        """The package of a zip, with Lambda's digest of it."""
        digest = base64.b64encode(hashlib.sha256(archive).digest()).decode("ascii")
        return cls("zip", digest, archive)


@dataclass(frozen=True, slots=True)
class Packages:
    """The packages of the two functions."""

    detection: Package
    recognition: Package


@dataclass(frozen=True, slots=True)
class Restored:
    """The packages of a recorded deploy that a rollback deploys again, and its number."""

    version: int
    packages: Packages


TemplateForm = Literal["cloudformation", "terraform"]


@dataclass(frozen=True, slots=True)
class Template:
    """The template that made a deployment; `stack`: CloudFormation's name of what it made."""

    form: TemplateForm
    stack: str = ""


@dataclass(frozen=True, slots=True)
class Sizing:
    """Memory in MB, timeout in seconds, and concurrency of the functions.

    One vCPU is the cheapest: a second one makes detection 1.3 times as fast for twice the
    price, and int8's embedding hardly faster (docs/PERFORMANCE.md).
    """

    memory: int = MB_PER_VCPU
    timeout: int = 60
    batch_size: int = 10
    architecture: Architecture = "x86_64"
    reserved_concurrency: int | None = None
    provisioned_concurrency: int | None = None
    max_concurrency: int | None = None
    pollers: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The inputs that determine the desired resources.

    `environment`: variables for both functions (the model's folder). `role_arn`: an
    existing role for both functions, instead of creating roles. `boundary`: the permissions
    boundary (an ARN) of created roles. `alarms`: the e-mail address that alarms are sent to;
    `off`: there may be alarms of an earlier deploy, which are removed; None: there never were.
    `kms_key`: the ARN of the key that encrypts queues, bucket and log groups; empty: AWS's own.
    """

    names: Names
    account: Account
    cloud: TargetCloud
    packages: Packages
    sizing: Sizing = field(default_factory=Sizing)
    environment: Mapping[str, str] = field(default_factory=dict)
    role_arn: str | None = None
    boundary: str | None = None
    auth: Auth | None = None
    demo: bool = False
    alarms: str | None = None
    kms_key: str = ""

    @property
    def metrics(self) -> bool:
        """Whether the functions' log lines are CloudWatch metrics too."""
        return METRICS_VARIABLE in self.environment

    @property
    def alarms_email(self) -> str | None:
        """The e-mail address that alarms are sent to; None without alarms."""
        return None if self.alarms == OFF else self.alarms

    @property
    def qualifier(self) -> str:
        """The alias that the URL and the trigger call; empty for the function itself."""
        # Provisioned concurrency needs a version or an alias.
        return "" if self.sizing.provisioned_concurrency is None else ALIAS

    @property
    def url_auth(self) -> Auth:
        """The authentication of the Function URL: the chosen one, or the target's default."""
        return self.auth or self.cloud.auth

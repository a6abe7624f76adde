"""Options of the commands that make, export or push what a deployment consists of.

Each is declared once; those of all commands are in `facectl/cli/options.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from facectl.deploy.options import Options

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Name or embedding space of a model; default: the one built last."
    ),
]
ImageArchitecture = Annotated[
    Literal["x86_64", "arm64"] | None,
    typer.Option("--architecture", help="Processor of the functions; default x86_64."),
]
ImageBuilder = Annotated[
    Literal["direct", "docker"] | None,
    typer.Option(
        "--builder",
        envvar="FACECTL_BUILDER",
        help="Builds the images; default direct, which needs no Docker engine.",
    ),
]
BaseImageName = Annotated[
    str | None,
    typer.Option(
        "--base-image",
        envvar="FACECTL_BASE_IMAGE",
        help="Base image of the build: of a registry, an OCI layout, or an archive of "
        "`docker save`.",
    ),
]
Rebuild = Annotated[
    bool,
    typer.Option("--rebuild", help="Build on the newest version of the base image."),
]
PackageIndex = Annotated[
    str | None,
    typer.Option(
        "--package-index", envvar="FACECTL_PACKAGE_INDEX", help="Package index URL for pip."
    ),
]


@dataclass(frozen=True)
class ResourceChoices:
    """What a deployment is made of: the options that `deploy` and `export` share."""

    memory: Annotated[
        int | None,
        typer.Option(
            "--memory", min=512, max=10240, help="MB per function; default 1769: one vCPU."
        ),
    ] = None
    timeout: Annotated[
        int | None,
        typer.Option(
            "--timeout", min=1, max=900, help="Timeout per function in seconds; default 60."
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=10,
            help="Messages per invocation of face-recognition; default 10.",
        ),
    ] = None
    reserved_concurrency: Annotated[
        int | None,
        typer.Option(
            "--reserved-concurrency",
            min=1,
            help="Concurrency of face-detection; more frames are throttled (429).",
        ),
    ] = None
    provisioned_concurrency: Annotated[
        int | None,
        typer.Option(
            "--provisioned-concurrency",
            min=1,
            help="Warm environments per function, billed while idle.",
        ),
    ] = None
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            "--max-concurrency",
            min=2,
            max=1000,
            help="Concurrency of face-recognition, in batches.",
        ),
    ] = None
    pollers: Annotated[
        str | None,
        typer.Option(
            "--pollers",
            metavar="LEAST:MOST",
            help="Provisioned pollers of the trigger, each for 10 batches at once, "
            "instead of --max-concurrency.",
        ),
    ] = None
    auth: Annotated[
        Literal["iam", "none"] | None,
        typer.Option(
            "--auth", help="Authentication of the URL; default iam on AWS, none on local."
        ),
    ] = None
    role_arn: Annotated[
        str | None,
        typer.Option(
            "--role-arn", help="Existing role for both functions, instead of creating roles."
        ),
    ] = None
    boundary: Annotated[
        str | None,
        typer.Option(
            "--boundary", metavar="ARN", help="Permissions boundary of the roles that it creates."
        ),
    ] = None
    image_uri: Annotated[
        list[str] | None,
        typer.Option(
            "--image-uri", help="Existing image, FUNCTION=URI, once per function; builds none."
        ),
    ] = None
    names: Annotated[
        bool | None,
        typer.Option("--names/--no-names", help="Log recognized names; default --names."),
    ] = None
    metrics: Annotated[
        bool | None,
        typer.Option(
            "--metrics/--no-metrics",
            help="Stage durations and results as CloudWatch metrics, which cost money; "
            "default --no-metrics.",
        ),
    ] = None
    alarms: Annotated[
        str | None,
        typer.Option(
            "--alarms",
            metavar="EMAIL",
            help="Mail alarms to EMAIL, with a dashboard, and a budget for --auth none (AWS); "
            "off removes them.",
        ),
    ] = None
    min_face_size: Annotated[
        int | None,
        typer.Option(
            "--min-face-size",
            min=12,
            max=1000,
            help="Smallest face that is looked for, in pixels; default 20. Larger is faster.",
        ),
    ] = None
    kms_key: Annotated[
        str | None,
        typer.Option(
            "--kms-key",
            metavar="ARN",
            help="Encrypt queues, bucket and logs with this KMS key (AWS); off removes it.",
        ),
    ] = None

    def options(self) -> Options:
        """The options of a deploy; raises InputError for pollers that are wrong."""
        from facectl.deploy.options import Options, parse_pollers

        return Options(
            memory=self.memory,
            timeout=self.timeout,
            batch_size=self.batch_size,
            reserved_concurrency=self.reserved_concurrency,
            provisioned_concurrency=self.provisioned_concurrency,
            max_concurrency=self.max_concurrency,
            pollers=None if self.pollers is None else parse_pollers(self.pollers),
            auth=self.auth,
            role_arn=self.role_arn,
            boundary=self.boundary,
            image_uris=tuple(self.image_uri or ()),
            log_names=self.names,
            metrics=self.metrics,
            alarms=self.alarms,
            min_face_size=self.min_face_size,
            kms_key=self.kms_key,
        )

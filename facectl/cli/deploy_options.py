"""Options of the commands that make, export or push what a deployment consists of.

Each is declared once; those of all commands are in `facectl/cli/options.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from facectl.deploy.options import Options

# Help panels.
IMAGES = "Images and model"
FUNCTIONS = "Functions"
CONCURRENCY = "Concurrency"
ACCESS = "Access and encryption"
LOGS = "Logs and alarms"

Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="Name or embedding space of a model; default: the one built last.",
        rich_help_panel=IMAGES,
    ),
]
ImageArchitecture = Annotated[
    Literal["x86_64", "arm64"] | None,
    typer.Option(
        "--architecture",
        help="Processor of the functions; default x86_64.",
        rich_help_panel=IMAGES,
    ),
]
ImageBuilder = Annotated[
    Literal["direct", "docker"] | None,
    typer.Option(
        "--builder",
        envvar="FACECTL_BUILDER",
        help="Builds the images; default direct, which needs no Docker engine.",
        rich_help_panel=IMAGES,
    ),
]
BaseImageName = Annotated[
    str | None,
    typer.Option(
        "--base-image",
        envvar="FACECTL_BASE_IMAGE",
        help="Base image of the build: of a registry, an OCI layout, or an archive of "
        "`docker save`.",
        rich_help_panel=IMAGES,
    ),
]
Rebuild = Annotated[
    bool,
    typer.Option(
        "--rebuild",
        help="Build on the newest version of the base image.",
        rich_help_panel=IMAGES,
    ),
]
PackageIndex = Annotated[
    str | None,
    typer.Option(
        "--package-index",
        envvar="FACECTL_PACKAGE_INDEX",
        help="Package index URL for pip.",
        rich_help_panel=IMAGES,
    ),
]


@dataclass(frozen=True)
class ResourceChoices:
    """What a deployment is made of: the options that `deploy` and `export` share."""

    memory: Annotated[
        int | None,
        typer.Option(
            "--memory",
            min=512,
            max=10240,
            help="MB per function; default 1769: one vCPU.",
            rich_help_panel=FUNCTIONS,
        ),
    ] = None
    timeout: Annotated[
        int | None,
        typer.Option(
            "--timeout",
            min=1,
            max=900,
            help="Timeout per function in seconds; default 60.",
            rich_help_panel=FUNCTIONS,
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            min=1,
            max=10,
            help="Messages per invocation of face-recognition; default 10.",
            rich_help_panel=FUNCTIONS,
        ),
    ] = None
    reserved_concurrency: Annotated[
        int | None,
        typer.Option(
            "--reserved-concurrency",
            metavar="N",
            min=1,
            help="Concurrency of face-detection; more frames are throttled (429).",
            rich_help_panel=CONCURRENCY,
        ),
    ] = None
    provisioned_concurrency: Annotated[
        int | None,
        typer.Option(
            "--provisioned-concurrency",
            metavar="N",
            min=1,
            help="Warm environments per function, billed while idle.",
            rich_help_panel=CONCURRENCY,
        ),
    ] = None
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            "--max-concurrency",
            metavar="N",
            min=2,
            max=1000,
            help="Concurrency of face-recognition, in batches.",
            rich_help_panel=CONCURRENCY,
        ),
    ] = None
    pollers: Annotated[
        str | None,
        typer.Option(
            "--pollers",
            metavar="LEAST:MOST",
            help="Provisioned pollers of the trigger, each for 10 batches at once, "
            "instead of --max-concurrency.",
            rich_help_panel=CONCURRENCY,
        ),
    ] = None
    auth: Annotated[
        Literal["iam", "none"] | None,
        typer.Option(
            "--auth",
            help="Authentication of the URL; default iam on AWS, none on local.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    role_arn: Annotated[
        str | None,
        typer.Option(
            "--role-arn",
            help="Existing role for both functions, instead of creating roles.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    boundary: Annotated[
        str | None,
        typer.Option(
            "--boundary",
            metavar="ARN",
            help="Permissions boundary of the roles that it creates.",
            rich_help_panel=ACCESS,
        ),
    ] = None
    image_uri: Annotated[
        list[str] | None,
        typer.Option(
            "--image-uri",
            help="Existing image, FUNCTION=URI, once per function; builds none.",
            rich_help_panel=IMAGES,
        ),
    ] = None
    names: Annotated[
        bool | None,
        typer.Option(
            "--names/--no-names",
            help="Log recognized names; default --names.",
            rich_help_panel=LOGS,
        ),
    ] = None
    metrics: Annotated[
        bool | None,
        typer.Option(
            "--metrics/--no-metrics",
            help="Stage durations and results as CloudWatch metrics, which cost money; "
            "default --no-metrics.",
            rich_help_panel=LOGS,
        ),
    ] = None
    alarms: Annotated[
        str | None,
        typer.Option(
            "--alarms",
            metavar="EMAIL",
            help="Mail alarms to EMAIL, with a dashboard, and a budget for --auth none (AWS); "
            "off removes them.",
            rich_help_panel=LOGS,
        ),
    ] = None
    min_face_size: Annotated[
        int | None,
        typer.Option(
            "--min-face-size",
            min=12,
            max=1000,
            help="Smallest face that is looked for, in pixels; default 20. Larger is faster.",
            rich_help_panel=FUNCTIONS,
        ),
    ] = None
    kms_key: Annotated[
        str | None,
        typer.Option(
            "--kms-key",
            metavar="ARN",
            help="Encrypt queues, bucket and logs with this KMS key (AWS); off removes it.",
            rich_help_panel=ACCESS,
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

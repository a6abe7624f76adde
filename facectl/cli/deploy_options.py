"""Options of the commands that make, export or push what a deployment consists of.

Each is declared once; those of all commands are in `facectl/cli/options.py`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Model = Annotated[
    str | None,
    typer.Option(
        "--model", help="Name or embedding space of a model; default: the one built last."
    ),
]
Memory = Annotated[
    int | None,
    typer.Option("--memory", min=512, max=10240, help="MB per function; default 3008."),
]
FunctionTimeout = Annotated[
    int | None,
    typer.Option("--timeout", min=1, max=900, help="Timeout per function in seconds; default 60."),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        min=1,
        max=10,
        help="Messages per invocation of face-recognition; default 10.",
    ),
]
ReservedConcurrency = Annotated[
    int | None,
    typer.Option(
        "--reserved-concurrency",
        min=1,
        help="Concurrency of face-detection; more frames are throttled (429).",
    ),
]
ProvisionedConcurrency = Annotated[
    int | None,
    typer.Option(
        "--provisioned-concurrency",
        min=1,
        help="Warm environments per function, billed while idle.",
    ),
]
MaxConcurrency = Annotated[
    int | None,
    typer.Option(
        "--max-concurrency",
        min=2,
        max=1000,
        help="Concurrency of face-recognition, in batches.",
    ),
]
Pollers = Annotated[
    str | None,
    typer.Option(
        "--pollers",
        metavar="LEAST:MOST",
        help="Provisioned pollers of the trigger, each for 10 batches at once, "
        "instead of --max-concurrency.",
    ),
]
UrlAuth = Annotated[
    Literal["iam", "none"] | None,
    typer.Option("--auth", help="Authentication of the URL; default iam on AWS, none on local."),
]
RoleArn = Annotated[
    str | None,
    typer.Option("--role-arn", help="Existing role for both functions, instead of creating roles."),
]
Boundary = Annotated[
    str | None,
    typer.Option(
        "--boundary", metavar="ARN", help="Permissions boundary of the roles that it creates."
    ),
]
ImageArchitecture = Annotated[
    Literal["x86_64", "arm64"] | None,
    typer.Option("--architecture", help="Processor of the functions; default x86_64."),
]
ImageUris = Annotated[
    list[str] | None,
    typer.Option(
        "--image-uri", help="Existing image, FUNCTION=URI, once per function; builds none."
    ),
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
LogNames = Annotated[
    bool | None,
    typer.Option("--names/--no-names", help="Log recognized names; default --names."),
]
Metrics = Annotated[
    bool | None,
    typer.Option(
        "--metrics/--no-metrics",
        help="Stage durations and results as CloudWatch metrics, which cost money; "
        "default --no-metrics.",
    ),
]
Alarms = Annotated[
    str | None,
    typer.Option(
        "--alarms",
        metavar="EMAIL",
        help="Mail alarms to EMAIL, with a dashboard, and a budget for --auth none (AWS); "
        "off removes them.",
    ),
]
MinFaceSize = Annotated[
    int | None,
    typer.Option(
        "--min-face-size",
        min=12,
        max=1000,
        help="Smallest face that is looked for, in pixels; default 20. Larger is faster.",
    ),
]
KmsKey = Annotated[
    str | None,
    typer.Option(
        "--kms-key",
        metavar="ARN",
        help="Encrypt queues, bucket and logs with this KMS key (AWS); off removes it.",
    ),
]

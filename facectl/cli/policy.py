"""`facectl policy`: the IAM policies that a deployer, a sender and a reader need."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

import typer

from facectl.cli.options import with_overrides
from facectl.console import print_json
from facectl.context import Overrides, resolve


@with_overrides
def policy(
    overrides: Overrides,
    person: Annotated[
        Literal["deployer", "sender", "edge", "reader", "alarms"],
        typer.Argument(
            help="deployer: deploy and destroy. sender: send, tail, purge. "
            "edge: send --detect edge. "
            "reader: status, logs, trace, dlq list. "
            "alarms: deploy --alarms, besides deployer."
        ),
    ],
    role_arn: Annotated[
        str | None,
        typer.Option("--role-arn", help="For deploys with this existing role."),
    ] = None,
    boundary: Annotated[
        str | None,
        typer.Option(
            "--boundary", metavar="ARN", help="For deploys whose roles have this boundary."
        ),
    ] = None,
    kms_key: Annotated[
        str | None,
        typer.Option("--kms-key", metavar="ARN", help="For deploys with this key."),
    ] = None,
) -> None:
    """Print the least-privilege IAM policy of a person, as JSON.

    Calls nothing: an administrator can print it for somebody else. Without --account the
    policy holds for the deployment's names in any account. Gallery commands need the
    deployer's policy: they write embeddings to the bucket.

    [bold]Examples[/bold]

    facectl policy deployer --asu-id 1225754101 --target aws --account 123456789012

    facectl policy sender --asu-id 1225754101 --target aws > sender.json
    """
    from facectl.deploy import policies
    from facectl.deploy.access import account_of
    from facectl.deploy.options import Options

    options = Options(role_arn=role_arn, boundary=boundary, kms_key=kms_key).over(Options())
    deployment = replace(resolve(replace(overrides, target="aws"), new=True), endpoint_url=None)
    account = account_of(deployment)
    scope = policies.Scope(
        deployment.names,
        account,
        options.role_arn,
        options.boundary,
        kms_key=options.key_in(account),
    )
    print_json(policies.policy_of(person, scope))

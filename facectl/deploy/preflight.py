"""Checks what AWS would refuse during a deploy, before anything is created or recorded.

`facectl deploy` and `facectl doctor` run the same checks. A check returns its result, or raises
the FacectlError of a problem; none of them changes anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from facectl.aws import Clients, cloud_errors, with_account
from facectl.aws_errors import is_denied, is_missing
from facectl.deploy.access import (
    PUBLIC_CONCURRENCY,
    check_pollers,
    check_reserved,
    check_roles,
    check_trigger,
    half_of,
    is_learner_lab,
    read_account,
    read_concurrency,
)
from facectl.deploy.image_checks import check_image
from facectl.deploy.options import Options
from facectl.deploy.packages import given_packages
from facectl.deploy.policies import Grant, Scope, grants
from facectl.errors import CloudError, InputError

Verdict = Literal["ok", "warning", "problem"]

# Regions without Function URLs, at this date. Source: AWS Lambda Developer Guide, "Creating and
# managing Lambda function URLs", note at the beginning.
REGIONS_DATE = "2026-11-28"
REGIONS_WITHOUT_URLS = frozenset(
    {
        "ap-east-2",
        "ap-south-2",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ca-west-1",
        "eu-central-2",
        "eu-south-2",
        "il-central-1",
        "me-central-1",
    }
)
# AWS Academy, Learner Lab readme, "Service usage and other restrictions".
LAB_REGIONS = ("us-east-1", "us-west-2")
# "New AWS accounts have reduced concurrency and memory quotas" (Lambda Developer Guide,
# "Lambda quotas"). No API returns the memory quota; CreateFunction refuses more than 3,008 MB
# there. GetAccountSettings returns the concurrency quota, whose default is 1,000.
_NEW_ACCOUNTS_MEMORY = 3008
_DEFAULT_CONCURRENCY = 1000
# An initialisation that takes longer than 10 s runs again inside the first invocation, within
# the function's timeout (Lambda Developer Guide, "Lambda execution environment lifecycle").
_SHORT_TIMEOUT = 15
# A deploy with two new images takes some minutes.
_SOON = timedelta(minutes=15)
_QUOTA_HINT = "request an increase: Service Quotas, AWS Lambda, Concurrent executions"
_ASSUMED = re.compile(r"arn:([\w-]+):sts::(\d{12}):assumed-role/([^/]+)/.+")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check; `next` is the command to run."""

    check: str
    verdict: Verdict
    text: str
    next: str | None = None


Check = Callable[[Clients, Options], CheckResult]


def checks() -> dict[str, Check]:
    """The checks by name, in the order in which they run."""
    return {
        "credentials": check_credentials,
        "region": check_region,
        "role": check_role,
        "packaging": check_packaging,
        "quotas": check_quotas,
        "permissions": check_permissions,
    }


def preflight(clients: Clients, options: Options) -> Iterator[CheckResult]:
    """Run every check in order and yield its result; raises the error of the first problem."""
    for check in checks().values():
        yield check(clients, options)


def check_credentials(clients: Clients, _options: Options) -> CheckResult:
    """Whether AWS accepts the credentials, of this account, and for how long."""
    with_account(clients.deployment)
    expiry = clients.credentials_expiry()
    if expiry is None:
        return CheckResult("credentials", "ok", clients.identity)
    left = expiry - datetime.now(timezone.utc)
    text = f"{clients.identity}, until {expiry:%H:%M} UTC"
    if left < _SOON:
        minutes = max(0, left // timedelta(minutes=1))
        return CheckResult(
            "credentials", "warning", f"{text}: {minutes} minutes are left",
            "renew the credentials before a deploy that builds images",
        )  # fmt: skip
    return CheckResult("credentials", "ok", text)


def check_region(clients: Clients, _options: Options) -> CheckResult:
    """Whether Lambda and Function URLs exist in the region, and a learner lab may use it."""
    region = clients.deployment.region
    if region not in clients.regions():
        raise InputError(f"Lambda has no region {region!r}", hint="--region us-east-1")
    if region in REGIONS_WITHOUT_URLS:
        raise InputError(
            f"Lambda has no Function URLs in {region}, according to AWS's list of {REGIONS_DATE}",
            hint="--region us-east-1",
        )
    if is_learner_lab(clients.identity) and region not in LAB_REGIONS:
        raise InputError(
            f"A learner lab can't use {region}, only {' and '.join(LAB_REGIONS)}",
            hint=f"--region {LAB_REGIONS[0]}",
        )
    return CheckResult("region", "ok", region)


def check_role(clients: Clients, options: Options) -> CheckResult:
    """Whether the functions can get their roles."""
    check_roles(clients, options)
    return CheckResult("role", "ok", options.role_arn or "one role per function is created")


def check_packaging(clients: Clients, options: Options) -> CheckResult:
    """Whether Lambda can run the code: images, of one platform, in its region's ECR."""
    if options.packaging == "zip":
        raise InputError(
            "--package zip has no third-party packages and no model: it is for the local cloud",
            hint="facectl deploy --package image",
        )
    sizing = options.sizing
    unknown = [
        problem
        for package in given_packages(options.image_uris).values()
        if (problem := check_image(clients, package.digest, sizing.architecture))
    ]
    if unknown:
        return CheckResult("packaging", "warning", "; ".join(unknown), "facectl doctor")
    if sizing.timeout < _SHORT_TIMEOUT:
        text = (
            f"--timeout {sizing.timeout}: an initialisation of more than 10 s runs again within "
            "the timeout, so a slow cold start may never finish"
        )
        return CheckResult("packaging", "warning", text, f"--timeout {_SHORT_TIMEOUT} or more")
    return CheckResult("packaging", "ok", f"images for {sizing.architecture}")


def check_quotas(clients: Clients, options: Options) -> CheckResult:
    """Whether the account's concurrency and memory quotas allow the options."""
    found = read_concurrency(clients)
    if found is None:
        text = "these credentials may not read the concurrency limit"
        return CheckResult("quotas", "warning", text, "allow lambda:GetAccountSettings")
    limit = found.limit
    check_reserved(options, found)
    if options.pollers is not None:
        check_pollers(options.pollers, limit)
    text = f"the concurrency limit is {limit}, of which {found.reservable} can be reserved"
    if options.sizing.memory > _NEW_ACCOUNTS_MEMORY and limit < _DEFAULT_CONCURRENCY:
        text += (
            f"; new accounts are limited to {_NEW_ACCOUNTS_MEMORY} MB per function, "
            f"which --memory {options.sizing.memory} exceeds"
        )
        hint = f"facectl deploy --memory {_NEW_ACCOUNTS_MEMORY}"
        return CheckResult("quotas", "warning", text, hint)
    chosen = options.max_concurrency if options.pollers is None else None
    if chosen is not None and chosen > half_of(limit):
        check_trigger(chosen, limit)
        text += f"; --max-concurrency {chosen} leaves face-detection fewer than half of it"
        return CheckResult(
            "quotas", "warning", text, f"facectl deploy --max-concurrency {half_of(limit)}"
        )
    if limit <= PUBLIC_CONCURRENCY:
        return CheckResult("quotas", "warning", text, _QUOTA_HINT)
    return CheckResult("quotas", "ok", text)


def check_permissions(clients: Clients, options: Options) -> CheckResult:
    """Whether IAM's simulator allows every action of a deploy, on the deployment's resources."""
    identity = clients.identity
    if identity.endswith(":root"):
        return CheckResult("permissions", "ok", "the root user is allowed everything")
    account = read_account(clients)
    scope = Scope(
        clients.deployment.names,
        account,
        options.role_arn,
        options.boundary,
        kms_key=options.key_in(account),
    )
    needed = grants("deployer", scope)
    command = "facectl policy deployer"
    if options.alarms is not None:
        needed, command = (
            (*needed, *grants("alarms", scope)),
            f"{command}   and   facectl policy alarms",
        )
    try:
        principal = _principal(clients)
        denied = [action for grant in needed for action in _denied(clients, principal, grant)]
    except CloudError as error:
        # The role of IAM Identity Center may be invisible, and a user may not ask.
        if not (is_denied(error) or is_missing(error)):
            raise
        text = "these credentials may not simulate their permissions"
        hint = f"{command}   prints what a deploy needs"
        return CheckResult("permissions", "warning", text, hint)
    if denied:
        raise CloudError(
            f"{principal} is not allowed: {', '.join(sorted(denied))}",
            hint=f"{command}   prints a policy that allows them",
        )
    count = sum(len(grant.actions) for grant in needed)
    return CheckResult("permissions", "ok", f"all {count} that a deploy needs")


def _principal(clients: Clients) -> str:
    """The ARN of the user or role whose policies apply to the credentials; raises CloudError."""
    assumed = _ASSUMED.fullmatch(clients.identity)
    if assumed is None:
        return clients.identity
    role = assumed[3]
    # The session's ARN lacks the path of the role: those of IAM Identity Center have one.
    with cloud_errors(f"looking up the role {role}", clients.deployment):
        return clients.iam.get_role(RoleName=role)["Role"]["Arn"]


def _denied(clients: Clients, principal: str, grant: Grant) -> Iterator[str]:
    """The actions of a grant that the simulator denies.

    A denial for want of a context key, such as the source address, may be none in a request.
    """
    context: Any = [
        {"ContextKeyName": key, "ContextKeyValues": [values[0]], "ContextKeyType": "string"}
        for key, values in grant.context.items()
    ]
    pages = clients.iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=principal,
        ActionNames=list(grant.actions),
        ResourceArns=[resource.replace("*", "any") for resource in grant.resources]
        if grant.resources != ("*",)
        else ["*"],
        ContextEntries=context,
    )
    with cloud_errors("simulating permissions", clients.deployment):
        results: list[Any] = [each for page in pages for each in page["EvaluationResults"]]
    for result in results:
        specific = result.get("ResourceSpecificResults") or [
            {
                "EvalResourceDecision": result["EvalDecision"],
                "MissingContextValues": result.get("MissingContextValues"),
            }
        ]
        if any(
            each["EvalResourceDecision"] != "allowed" and not each.get("MissingContextValues")
            for each in specific
        ):
            yield result["EvalActionName"]

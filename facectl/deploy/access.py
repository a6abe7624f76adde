"""Reads the account, and checks its limits: roles, reserved concurrency, concurrent executions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from facectl.aws import Clients, cloud_errors, unless_missing
from facectl.aws_errors import is_denied
from facectl.context import Deployment
from facectl.deploy.models import Account
from facectl.deploy.options import Options
from facectl.errors import CloudError, InputError
from facectl.naming import DETECTION_FUNCTION
from lambda_src.aws import dns_suffix

if TYPE_CHECKING:
    from mypy_boto3_lambda.type_defs import AccountLimitTypeDef

# Sessions of a learner lab have this role; functions there use LabRole.
_LEARNER_LAB = ":assumed-role/voclabs/"
MISSING_ROLE_HINT = "facectl deploy --role-arn arn:aws:iam::{account}:role/LabRole"
# The reserved concurrency of a public URL, to bound its cost.
PUBLIC_CONCURRENCY = 10
# AWS keeps this much concurrency unreserved (Lambda Developer Guide, "Configuring reserved
# concurrency"). An account with a lower limit keeps all of it: PutFunctionConcurrency then
# says "below its minimum value of [10]".
_UNRESERVED = 100
# The limit of new and learner-lab accounts.
_SMALLEST_LIMIT = 10
# AWS General Reference, "AWS service endpoints": the partitions besides `aws`.
_PARTITIONS = (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"))
# AWS's minimum for MaximumConcurrency.
_LEAST_CONCURRENCY = 2
# AWS's minimum of provisioned pollers, and the batches that each has in flight at most
# (Lambda Developer Guide, provisioned mode for SQS).
_LEAST_POLLERS = 2
_BATCHES_PER_POLLER = 10


@dataclass(frozen=True, slots=True)
class Concurrency:
    """The account's concurrent executions in a region: the limit, and the unreserved part.

    `own`: what is reserved for face-detection now, which a deploy can change.
    """

    limit: int
    unreserved: int
    own: int = 0

    @property
    def reservable(self) -> int:
        """The highest concurrency that AWS reserves for face-detection."""
        return max(0, self.unreserved + self.own - min(_UNRESERVED, self.limit))


def read_account(clients: Clients) -> Account:
    """The account of the credentials, with its endpoints."""
    region, endpoint = clients.deployment.region, clients.deployment.endpoint_url
    return Account(
        number=clients.account,
        region=region,
        queue_endpoint=clients.sqs.meta.endpoint_url.rstrip("/"),
        registry=f"{clients.account}.dkr.ecr.{region}.{dns_suffix(region)}"
        if endpoint is None
        else endpoint.partition("://")[2].rstrip("/"),
        partition=clients.partition,
    )


def account_of(deployment: Deployment) -> Account:
    """The account of a deployment on AWS without calling it; `*` if its number is not known."""
    region, number = deployment.region, deployment.account or "*"
    partition = next((name for start, name in _PARTITIONS if region.startswith(start)), "aws")
    suffix = dns_suffix(region)
    return Account(
        number,
        region,
        f"https://sqs.{region}.{suffix}",
        f"{number}.dkr.ecr.{region}.{suffix}",
        partition,
    )


def is_learner_lab(identity: str) -> bool:
    """Whether an ARN is that of a learner-lab session."""
    return _LEARNER_LAB in identity


def check_roles(clients: Clients, options: Options) -> None:
    """Check that the functions can get their roles, before anything is created.

    Raises CloudError in a learner lab, which can't create roles, unless a role was
    given, and InputError if the given role does not exist.
    """
    if options.role_arn is not None:
        _check_given(clients, options.role_arn)
    elif is_learner_lab(clients.identity):
        raise CloudError(
            "This is a learner lab (role voclabs): it can't create roles, use its LabRole",
            hint=MISSING_ROLE_HINT.format(account=clients.account),
        )


def _check_given(clients: Clients, arn: str) -> None:
    name = arn.rpartition("/")[2]
    try:
        with cloud_errors(f"looking up the role {name}", clients.deployment):
            found = unless_missing(clients.iam.get_role, RoleName=name)
    except CloudError as error:
        # A session may be allowed to pass the role but not to read it.
        if not is_denied(error):
            raise
        return
    if found is None or found["Role"]["Arn"] != arn:
        raise InputError(f"There is no role {arn}", hint="aws iam list-roles --query Roles[].Arn")


def read_concurrency(clients: Clients) -> Concurrency | None:
    """The account's concurrency; None if the credentials may not read it."""
    try:
        limits = _read_limits(clients)
        with cloud_errors("reading face-detection's concurrency", clients.deployment):
            own = unless_missing(
                clients.functions.get_function_concurrency, FunctionName=DETECTION_FUNCTION
            )
    except CloudError as error:
        if is_denied(error):
            return None
        raise
    reserved = own.get("ReservedConcurrentExecutions", 0) if own else 0
    limit = limits["ConcurrentExecutions"]
    return Concurrency(limit, limits.get("UnreservedConcurrentExecutions", limit), reserved)


def _read_limits(clients: Clients) -> AccountLimitTypeDef:
    with cloud_errors("reading the account's concurrency limit", clients.deployment):
        return clients.functions.get_account_settings()["AccountLimit"]


def reserved_for_public(clients: Clients) -> int | None:
    """The reserved concurrency for a public URL.

    None if AWS would not reserve it, or it is not known: then the account's limit is the bound.
    """
    found = read_concurrency(clients)
    if found is None or found.reservable < PUBLIC_CONCURRENCY:
        return None
    return PUBLIC_CONCURRENCY


def check_warm(options: Options) -> None:
    """Check that face-detection's reservation has room for warm environments; raises InputError."""
    reserved, warm = options.reserved_concurrency or 0, options.provisioned_concurrency or 0
    if reserved and warm > reserved:
        raise InputError(
            f"--provisioned-concurrency {warm} is more than --reserved-concurrency {reserved}, "
            "which AWS refuses",
            hint=f"--reserved-concurrency {warm}   or   --provisioned-concurrency {reserved}",
        )


def check_reserved(options: Options, found: Concurrency) -> None:
    """Check that the account can reserve what the options ask for; raises InputError."""
    check_warm(options)
    reserved, warm = options.reserved_concurrency or 0, options.provisioned_concurrency or 0
    # face-detection's warm environments are part of its reservation.
    if max(reserved, warm) + warm <= found.reservable:
        return
    asked = f"--provisioned-concurrency {warm}" if warm else f"--reserved-concurrency {reserved}"
    least = min(_UNRESERVED, found.limit)
    why = (
        f"this account's concurrency limit is {found.limit}, and AWS keeps {least} of it unreserved"
    )
    if warm:
        hint = "a higher quota: Service Quotas, AWS Lambda, Concurrent executions"
        raise InputError(f"{asked}, for each of two functions: {why}", hint=hint)
    public = options.auth == "none"
    auth = " --auth none" if public else ""
    hint = f"facectl deploy{auth} --max-concurrency {half_of(found.limit)}"
    if found.reservable:
        hint = f"facectl deploy{auth} --reserved-concurrency {found.reservable}"
    text = f"{asked}: {why}, so {found.reservable or 'nothing'} can be reserved"
    if public:
        text += f". The limit itself bounds a public URL to {found.limit} frames at once"
        hint += "   and --alarms EMAIL, which adds a budget"
    raise InputError(text, hint=hint)


def concurrency_limit(clients: Clients) -> int | None:
    """The account's limit of concurrent executions; None if the credentials may not read it."""
    try:
        return _read_limits(clients)["ConcurrentExecutions"]
    except CloudError as error:
        if is_denied(error):
            return None
        raise


def half_of(limit: int) -> int:
    """The trigger's share of a concurrency limit: one half; the rest is for face-detection."""
    return max(_LEAST_CONCURRENCY, limit // 2)


def recognition_concurrency(clients: Clients, chosen: int | None, default: int) -> int:
    """The trigger's maximum concurrency at which the account does not throttle it.

    A throttled delivery counts as a receive, so throttling moves unprocessed messages to
    the dead-letter queue. Raises InputError if `chosen` exceeds the account's limit.
    """
    limit = concurrency_limit(clients)
    if chosen is None:
        return fitting_concurrency(default, limit)
    check_trigger(chosen, limit)
    return chosen


def fitting_concurrency(default: int, limit: int | None) -> int:
    """The trigger's default concurrency in an account with this limit; None: it is not known."""
    return min(default, half_of(_SMALLEST_LIMIT if limit is None else limit))


def check_trigger(chosen: int, limit: int | None) -> None:
    """Check the trigger's maximum concurrency; raises InputError above the account's limit."""
    if limit is not None and chosen > limit:
        raise InputError(
            f"--max-concurrency {chosen}: this account's concurrency limit is {limit}",
            hint=f"facectl deploy --max-concurrency {half_of(limit)}",
        )


def check_pollers(pollers: tuple[int, int], limit: int | None) -> None:
    """Check that the account does not throttle provisioned pollers (minimum, maximum).

    `limit`: the account's concurrency limit; None: unknown, and nothing is checked. Raises
    InputError if the pollers can use more than the trigger's half of it.
    """
    if limit is None:
        return
    least, most = pollers
    concurrency, half = most * _BATCHES_PER_POLLER, half_of(limit)
    if concurrency <= half:
        return
    fitting = half // _BATCHES_PER_POLLER
    raise InputError(
        f"--pollers {least}:{most}: this account's concurrency limit is {limit}, "
        f"of which the trigger may use half, and {most} pollers use up to {concurrency}",
        hint=f"facectl deploy --pollers {min(least, fitting)}:{fitting}"
        if fitting >= _LEAST_POLLERS
        else f"facectl deploy --max-concurrency {half}",
    )

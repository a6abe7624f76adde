"""Checks the limits of the account: roles, reserved concurrency, concurrent executions."""

from __future__ import annotations

from facectl.aws import Clients, cloud_errors, is_denied, unless_missing
from facectl.deploy.options import Options
from facectl.errors import CloudError, InputError

# Sessions of a learner lab have this role; functions there use LabRole.
_LEARNER_LAB = ":assumed-role/voclabs/"
MISSING_ROLE_HINT = "facectl deploy --role-arn arn:aws:iam::{account}:role/LabRole"
# The reserved concurrency of a public URL, to bound its cost.
PUBLIC_CONCURRENCY = 10
# AWS requires this much unreserved concurrency (Lambda Developer Guide, reserved concurrency).
_UNRESERVED = 100
# The limit of new and learner-lab accounts.
_SMALLEST_LIMIT = 10
# AWS's minimum for MaximumConcurrency.
_LEAST_CONCURRENCY = 2
# AWS's minimum of provisioned pollers, and the batches that each has in flight at most
# (Lambda Developer Guide, provisioned mode for SQS).
_LEAST_POLLERS = 2
_BATCHES_PER_POLLER = 10


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


def reserved_for_public(clients: Clients) -> int | None:
    """The reserved concurrency for a public URL.

    None if the account's limit is too low to reserve concurrency: then that limit
    is the bound.
    """
    # Compare the whole limit, not the unreserved part, which our own reservation lowers.
    enough = _read_limit(clients) - PUBLIC_CONCURRENCY >= _UNRESERVED
    return PUBLIC_CONCURRENCY if enough else None


def concurrency_limit(clients: Clients) -> int | None:
    """The account's limit of concurrent executions; None if the credentials may not read it."""
    try:
        return _read_limit(clients)
    except CloudError as error:
        if is_denied(error):
            return None
        raise


def _read_limit(clients: Clients) -> int:
    with cloud_errors("reading the account's concurrency limit", clients.deployment):
        return clients.functions.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]


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
        return min(default, half_of(_SMALLEST_LIMIT if limit is None else limit))
    if limit is not None and chosen > limit:
        raise InputError(
            f"--max-concurrency {chosen}: this account's concurrency limit is {limit}",
            hint=f"facectl deploy --max-concurrency {half_of(limit)}",
        )
    return chosen


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

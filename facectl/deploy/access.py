"""What the account lets us do: make roles, reserve concurrency, run functions at once."""

from __future__ import annotations

from facectl.aws import Clients, cloud_errors, is_denied, unless_missing
from facectl.deploy.options import Options
from facectl.errors import CloudError, InputError

# The role that learner-lab sessions have, and the one that they are given for functions.
_LEARNER_LAB = ":assumed-role/voclabs/"
MISSING_ROLE_HINT = "facectl deploy --role-arn arn:aws:iam::{account}:role/LabRole"
# A public URL can spend money: so many frames at once, and no more.
PUBLIC_CONCURRENCY = 10
# What AWS wants to stay unreserved, by its documentation of reserved concurrency.
_UNRESERVED = 100
# Of new and learner-lab accounts, which is the smallest.
_SMALLEST_LIMIT = 10
# AWS's least for MaximumConcurrency.
_LEAST_CONCURRENCY = 2


def is_learner_lab(identity: str) -> bool:
    """Whether a session, by its ARN, is that of a learner lab."""
    return _LEARNER_LAB in identity


def check_roles(clients: Clients, options: Options) -> None:
    """See that there will be roles for the functions, before anything is made.

    Raises CloudError in a learner lab, which can't make roles, unless one was
    given, and InputError where the given one does not exist.
    """
    if options.role_arn is not None:
        _check_given(clients, options.role_arn)
    if options.role_arn is None and is_learner_lab(clients.identity):
        raise CloudError(
            "This is a learner lab (role voclabs): it can't create roles, but it has one to use",
            hint=MISSING_ROLE_HINT.format(account=clients.account),
        )


def _check_given(clients: Clients, arn: str) -> None:
    name = arn.rpartition("/")[2]
    try:
        with cloud_errors(f"looking up the role {name}", clients.deployment):
            found = unless_missing(clients.iam.get_role, RoleName=name)
    except CloudError as error:
        # A session that may use the role need not be allowed to look at it.
        if not is_denied(error):
            raise
        return
    if found is None or found["Role"]["Arn"] != arn:
        raise InputError(f"There is no role {arn}", hint="aws iam list-roles --query Roles[].Arn")


def reserved_for_public(clients: Clients) -> int | None:
    """How many frames at once a URL that anyone may call should take.

    None where the account's own limit is too low to reserve any of it: then
    that limit is the bound.
    """
    with cloud_errors("asking for the account's concurrency", clients.deployment):
        limit = clients.functions.get_account_settings()["AccountLimit"]
    # The whole limit, not what is left of it: our own reservation must not undo itself.
    enough = limit["ConcurrentExecutions"] - PUBLIC_CONCURRENCY >= _UNRESERVED
    return PUBLIC_CONCURRENCY if enough else None


def concurrency_limit(clients: Clients) -> int | None:
    """How many functions the account may run at once; None where that may not be asked."""
    try:
        with cloud_errors("asking for the account's concurrency", clients.deployment):
            settings = clients.functions.get_account_settings()
    except CloudError as error:
        if is_denied(error):
            return None
        raise
    return settings["AccountLimit"]["ConcurrentExecutions"]


def half_of(limit: int) -> int:
    """The most batches that the trigger may have in flight: the rest is for face-detection."""
    return max(_LEAST_CONCURRENCY, limit // 2)


def recognition_concurrency(clients: Clients, chosen: int | None, default: int) -> int:
    """How many batches the trigger may have in flight without being throttled by the account.

    A throttled delivery counts as a receive, and after some of them the message is in
    the dead-letter queue unseen. Raises InputError where more were chosen than can run.
    """
    limit = concurrency_limit(clients)
    if chosen is None:
        return min(default, half_of(_SMALLEST_LIMIT if limit is None else limit))
    if limit is not None and chosen > limit:
        raise InputError(
            f"--max-concurrency {chosen}: only {limit} functions may run at once in this account",
            hint=f"facectl deploy --max-concurrency {half_of(limit)}",
        )
    return chosen

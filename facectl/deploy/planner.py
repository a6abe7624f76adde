"""Plans the ordered steps from the actual state to the desired state. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

from facectl.deploy.models import (
    CURRENT,
    Alias,
    Bucket,
    Change,
    Create,
    Delete,
    Function,
    FunctionUrl,
    Image,
    Key,
    LogGroup,
    Permission,
    Queue,
    Replace,
    Repository,
    Resource,
    Role,
    Step,
    Trigger,
    Update,
    key,
)
from facectl.deploy.policies import canonical
from facectl.errors import CloudError
from facectl.naming import TAG_KEY

ActualState = Mapping[Key, Resource]

_ATTACHED = (Alias, FunctionUrl, Permission, Trigger)
_TAGGED = (Bucket, Queue, LogGroup, Role, Repository, Function)
# Their names do not depend on the ASU ID.
_SHARED = (Function, LogGroup, Repository)
# What AWS can't change in place.
_FIXED: dict[type[Resource], set[str]] = {Function: {"packaging"}, FunctionUrl: {"qualifier"}}
# JSON policies; differences are reported per statement.
_POLICIES = {"policy", "trust"}
# A resource is deleted before the resources it refers to, and a trigger before its function.
_DELETION = (Trigger, FunctionUrl, Alias, Function, Repository, Queue, Role, LogGroup, Bucket)


def plan(
    desired: Sequence[Resource], actual: ActualState, *, adopt: bool = False
) -> tuple[Step, ...]:
    """The steps that change `actual` into `desired`; empty if they are equal.

    Raises CloudError if a resource with a desired name belongs to another
    deployment, or has no owner tag and `adopt` is false.
    """
    for resource in desired:
        _check_owner(resource, actual.get(key(resource)), adopt)
    steps: list[Step] = []
    changed: dict[str, Step] = {}
    for resource in desired:
        function = changed.get(_function_of(resource)) if isinstance(resource, _ATTACHED) else None
        if isinstance(function, Replace):
            step: Step | None = _recreate(resource, actual)
        elif function is not None and isinstance(resource, Alias):
            step = _move_alias(resource, actual)
        else:
            step = _step(resource, actual)
        if step is not None:
            steps.append(step)
            if isinstance(resource, Function):
                changed[resource.name] = step
    names = {key(resource) for resource in desired}
    superfluous = (
        resource
        for place, resource in actual.items()
        if place not in names and isinstance(resource, (Permission, Alias))
        if not isinstance(changed.get(resource.function), Replace)
    )
    # An alias is deleted after the statements of its policy.
    last = sorted(superfluous, key=lambda resource: isinstance(resource, Alias))
    return (*steps, *(Delete(resource) for resource in last))


def plan_removal(actual: ActualState, owner: str) -> tuple[Step, ...]:
    """The steps that delete the resources in `actual` that belong to `owner`, and no others."""
    ours = [resource for resource in actual.values() if _belongs(resource, actual, owner)]
    # Deleting a function deletes its policy; deleting a repository deletes its images.
    ordered = sorted(
        (resource for resource in ours if not isinstance(resource, (Permission, Image))),
        key=lambda resource: _DELETION.index(type(resource)),
    )
    return tuple(Delete(resource) for resource in ordered)


def owners(actual: ActualState) -> dict[str, bool]:
    """The owners of the resources with fixed names, each with whether it is a demo deployment."""
    result: dict[str, bool] = {}
    for resource in actual.values():
        if isinstance(resource, _SHARED) and resource.owner is not None:
            demo = isinstance(resource, Function) and resource.demo
            result[resource.owner] = result.get(resource.owner, False) or demo
    return result


def without(actual: ActualState, steps: Sequence[Step]) -> ActualState:
    """The part of `actual` that is left after the steps removed resources and their dependents."""
    gone = {key(step.resource) for step in steps}

    def is_left(resource: Resource) -> bool:
        if key(resource) in gone:
            return False
        if isinstance(resource, _ATTACHED) and (Function.kind, _function_of(resource)) in gone:
            # A trigger outlives its function.
            return isinstance(resource, Trigger)
        if isinstance(resource, Image):
            return (Repository.kind, resource.repository) not in gone
        return True

    return {place: resource for place, resource in actual.items() if is_left(resource)}


def owner_of(resource: Resource) -> str | None:
    """The ASU ID in a resource's owner tag; None without a tag."""
    return resource.owner if isinstance(resource, _TAGGED) else None


def differences(desired: Resource, actual: Resource) -> tuple[Change, ...]:
    """The differing attributes of two resources of the same kind."""
    result: list[Change] = []
    for attribute in fields(desired):
        if not attribute.compare:
            continue
        before, after = getattr(actual, attribute.name), getattr(desired, attribute.name)
        if before == after:
            continue
        if isinstance(after, Mapping):
            result += _mapping_changes(before, after)
        elif attribute.name in _POLICIES:
            result += _mapping_changes(
                _statements(attribute.name, before), _statements(attribute.name, after)
            )
        else:
            result.append(Change(_label(attribute.name), _text(before), _text(after)))
    return tuple(result)


def _step(resource: Resource, actual: ActualState) -> Step | None:
    current = actual.get(key(resource))
    if current is None:
        return Create(resource)
    changes = differences(resource, current)
    if not changes:
        return None
    if any(change.attribute in _FIXED.get(type(resource), ()) for change in changes):
        return Replace(resource, current, changes)
    return Update(resource, current, changes)


def _recreate(resource: Resource, actual: ActualState) -> Step:
    """The step for a resource attached to a function that is replaced."""
    current = actual.get(key(resource))
    # Deleting a function deletes its URL and policy; its event source mapping remains.
    if isinstance(resource, Trigger) and current is not None:
        return Replace(resource, current, differences(resource, current))
    return Create(resource)


def _move_alias(desired: Alias, actual: ActualState) -> Step:
    """The step that points an alias at the new version of a function that changes."""
    current = actual.get(key(desired))
    if not isinstance(current, Alias):
        return Create(desired)
    older = replace(current, version="older") if current.version == CURRENT else current
    return Update(desired, current, differences(desired, older))


def _function_of(resource: Alias | FunctionUrl | Permission | Trigger) -> str:
    return resource.name if isinstance(resource, FunctionUrl) else resource.function


def _belongs(resource: Resource, actual: ActualState, owner: str) -> bool:
    if isinstance(resource, Bucket):
        return resource.owner in (owner, None)
    if isinstance(resource, _TAGGED):
        return resource.owner == owner
    if isinstance(resource, Image):
        return False
    # Attached resources belong to the function's owner; a trigger can outlive its function.
    function = actual.get((Function.kind, _function_of(resource)))
    return function is None or (isinstance(function, Function) and function.owner == owner)


def _check_owner(desired: Resource, current: Resource | None, adopt: bool) -> None:
    if not isinstance(desired, _TAGGED) or not isinstance(current, _TAGGED):
        return
    if current.owner == desired.owner:
        return
    if current.owner is not None:
        raise CloudError(
            f"The {current.kind} {current.name} belongs to the deployment of "
            f"ASU ID {current.owner}",
            hint=f"facectl destroy --asu-id {current.owner}",
        )
    # S3 tags a bucket in a second call, which an interruption can skip; the bucket's name
    # holds "facectl", the ASU ID and the account and so identifies its owner too.
    if not adopt and not isinstance(current, Bucket):
        raise CloudError(
            f"There is a {current.kind} {current.name} already, and it was not made by facectl "
            f"(it has no tag {TAG_KEY})",
            hint="facectl deploy --adopt   takes it over and changes it",
        )


def _mapping_changes(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[Change]:
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield Change(name, _text(before.get(name)), _text(after.get(name)))


def _statements(attribute: str, policy: str) -> dict[str, str]:
    statements = json.loads(policy)["Statement"] if policy else []
    listed = [statements] if isinstance(statements, dict) else statements
    return {
        f"{attribute} statement {statement.get('Sid', number)}": canonical(statement)
        for number, statement in enumerate(listed, 1)
    }


def _label(attribute: str) -> str:
    return attribute.replace("_", " ")


def _text(value: object) -> str:
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)

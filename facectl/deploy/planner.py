"""Plans the ordered steps from the actual state to the desired state. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

from facectl.deploy.resources import (
    REMOVAL_ORDER,
    Alias,
    Attached,
    Function,
    Image,
    Key,
    LogGroup,
    Resource,
    Tagged,
    key,
)
from facectl.deploy.resources.aliases import CURRENT
from facectl.deploy.resources.base import canonical
from facectl.deploy.steps import Change, Create, Delete, Replace, Step, Update
from facectl.errors import CloudError
from facectl.naming import TAG_KEY

ActualState = Mapping[Key, Resource]

# JSON policies; differences are reported per statement.
_POLICIES = {"policy", "trust"}


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
    changed: dict[Key, Step] = {}
    for resource in desired:
        if isinstance(resource, Attached):
            step = _attached_step(resource, changed.get(resource.parent), actual)
        else:
            step = _step(resource, actual) or _repointed(resource, changed, actual)
        if step is not None:
            steps.append(step)
            changed[key(resource)] = step
    left = (
        resource
        for resource in superfluous(desired, actual)
        if not isinstance(resource, Attached)
        or not isinstance(changed.get(resource.parent), Replace)
    )
    # An alias is deleted after the statements of its policy.
    last = sorted(left, key=_removal_rank)
    return (*steps, *(Delete(resource) for resource in last))


def superfluous(desired: Sequence[Resource], actual: ActualState) -> tuple[Resource, ...]:
    """The resources of this deployment that a deploy deletes: they are not desired."""
    names = {key(resource) for resource in desired}
    owners = {owner_of(resource) for resource in desired if isinstance(resource, Tagged)}
    return tuple(
        resource
        for place, resource in actual.items()
        if resource.pruned
        and place not in names
        and (not isinstance(resource, Tagged) or resource.owner in owners)
    )


def plan_removal(actual: ActualState, owner: str) -> tuple[Step, ...]:
    """The steps that delete the resources in `actual` that belong to `owner`, and no others."""
    ours = (
        resource
        for resource in actual.values()
        if type(resource) in REMOVAL_ORDER and _belongs(resource, actual, owner)
    )
    ordered = sorted(ours, key=lambda resource: REMOVAL_ORDER.index(type(resource)))
    return tuple(Delete(resource) for resource in ordered)


def owners(actual: ActualState) -> dict[str, bool]:
    """The owners of the resources with fixed names, each with whether it is a demo deployment."""
    result: dict[str, bool] = {}
    for resource in actual.values():
        if isinstance(resource, Tagged) and resource.shared and resource.owner is not None:
            demo = isinstance(resource, Function) and resource.demo
            result[resource.owner] = result.get(resource.owner, False) or demo
    return result


def without(actual: ActualState, steps: Sequence[Step]) -> ActualState:
    """The part of `actual` that is left after the steps: without their resources and dependents."""
    removed = {key(step.resource) for step in steps}

    def is_left(resource: Resource) -> bool:
        if key(resource) in removed:
            return False
        if not isinstance(resource, Attached) or resource.outlives_parent:
            return True
        return resource.parent not in removed

    return {place: resource for place, resource in actual.items() if is_left(resource)}


def owner_of(resource: Resource) -> str | None:
    """The ASU ID in a resource's owner tag; None without a tag."""
    return resource.owner if isinstance(resource, Tagged) else None


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
            result.append(Change(attribute.name.replace("_", " "), _text(before), _text(after)))
    return tuple(result)


def _step(resource: Resource, actual: ActualState) -> Step | None:
    current = actual.get(key(resource))
    if current is None:
        return Create(resource)
    changes = differences(resource, current)
    if not changes:
        return None
    if any(change.attribute in resource.fixed for change in changes):
        return Replace(resource, current, changes)
    return Update(resource, current, changes)


def _repointed(resource: Resource, changed: Mapping[Key, Step], actual: ActualState) -> Step | None:
    """The step that has Lambda take a function's image again, if that is pushed again."""
    current = actual.get(key(resource))
    if not isinstance(resource, Function) or not isinstance(current, Function):
        return None
    if (Image.kind, resource.code.partition("/")[2]) not in changed:
        return None
    older = replace(current, digest="older")
    return Update(resource, older, (Change("image", "older", "pushed again"),))


def _attached_step(resource: Attached, parent: Step | None, actual: ActualState) -> Step | None:
    """The step for a resource whose parent changes by the step `parent`, or stays."""
    current = actual.get(key(resource))
    if isinstance(parent, Replace):
        if resource.outlives_parent and current is not None:
            return Replace(resource, current, differences(resource, current))
        return Create(resource)
    if parent is not None and isinstance(resource, Alias):
        return _move_alias(resource, actual)
    return _step(resource, actual)


def _move_alias(desired: Alias, actual: ActualState) -> Step:
    """The step that points an alias at the new version of a function that changes."""
    current = actual.get(key(desired))
    if not isinstance(current, Alias):
        return Create(desired)
    older = replace(current, version="older") if current.version == CURRENT else current
    return Update(desired, current, differences(desired, older))


def _removal_rank(resource: Resource) -> int:
    """The place of a resource in the order of removal; those without one come first."""
    kind = type(resource)
    return REMOVAL_ORDER.index(kind) if kind in REMOVAL_ORDER else -1


def _belongs(resource: Resource, actual: ActualState, owner: str) -> bool:
    """Whether the resource, or the one that it is part of, belongs to `owner`."""
    if isinstance(resource, Attached):
        # A trigger can outlive its function.
        parent = actual.get(resource.parent)
        return parent is None or owner_of(parent) == owner
    if isinstance(resource, LogGroup) and resource.owner is None:
        # It may be the log of a function that facectl did not create.
        function = actual.get(resource.function)
        return function is not None and owner_of(function) == owner
    return isinstance(resource, Tagged) and resource.belongs_to(owner)


def _check_owner(desired: Resource, current: Resource | None, adopt: bool) -> None:
    """Raise CloudError if a deploy must not change the resource."""
    if not isinstance(desired, Tagged) or not isinstance(current, Tagged):
        return
    if current.belongs_to(desired.owner):
        return
    if current.owner is not None:
        raise CloudError(
            f"The {current.kind} {current.name} belongs to the deployment of "
            f"ASU ID {current.owner}",
            hint=f"facectl destroy --asu-id {current.owner}",
        )
    if not adopt:
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


def _text(value: object) -> str:
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)

"""The ordered steps from what was found to what is wanted. No I/O."""

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

Found = Mapping[Key, Resource]

_ATTACHED = (Alias, FunctionUrl, Permission, Trigger)
_TAGGED = (Bucket, Queue, LogGroup, Role, Repository, Function)
# Their names are the pipeline's, whatever the ASU ID.
_SHARED = (Function, LogGroup, Repository)
# What AWS can't change in place.
_FIXED: dict[type[Resource], set[str]] = {Function: {"packaging"}, FunctionUrl: {"qualifier"}}
# JSON policies, whose differences are told statement by statement.
_POLICIES = {"policy", "trust"}
# A resource is deleted before those that it refers to, and nothing calls a function that is gone.
_DELETION = (Trigger, FunctionUrl, Alias, Function, Repository, Queue, Role, LogGroup, Bucket)


def plan(wanted: Sequence[Resource], found: Found, *, adopt: bool = False) -> tuple[Step, ...]:
    """The steps that make `found` what is `wanted`; none where it is already.

    Raises CloudError where a resource of a wanted name belongs to somebody
    else, or to nobody and `adopt` was not asked for.
    """
    for resource in wanted:
        _check_owner(resource, found.get(key(resource)), adopt)
    steps: list[Step] = []
    changed: dict[str, Step] = {}
    for resource in wanted:
        function = changed.get(_function_of(resource)) if isinstance(resource, _ATTACHED) else None
        if isinstance(function, Replace):
            step: Step | None = _anew(resource, found)
        elif function is not None and isinstance(resource, Alias):
            step = _moved(resource, found)
        else:
            step = _step(resource, found)
        if step is not None:
            steps.append(step)
            if isinstance(resource, Function):
                changed[resource.name] = step
    names = {key(resource) for resource in wanted}
    superfluous = (
        resource
        for place, resource in found.items()
        if place not in names and isinstance(resource, (Permission, Alias))
        if not isinstance(changed.get(resource.function), Replace)
    )
    # An alias goes after the statements of its policy.
    last = sorted(superfluous, key=lambda resource: isinstance(resource, Alias))
    return (*steps, *(Delete(resource) for resource in last))


def plan_removal(found: Found, owner: str) -> tuple[Step, ...]:
    """The steps that remove what `owner` has of `found`, and nothing else."""
    ours = [resource for resource in found.values() if _belongs(resource, found, owner)]
    # A function takes its statements with it, a repository its images.
    ordered = sorted(
        (resource for resource in ours if not isinstance(resource, (Permission, Image))),
        key=lambda resource: _DELETION.index(type(resource)),
    )
    return tuple(Delete(resource) for resource in ordered)


def owners(found: Found) -> dict[str, bool]:
    """Whose the resources are that every deployment has under one name, and whether a demo's."""
    result: dict[str, bool] = {}
    for resource in found.values():
        if isinstance(resource, _SHARED) and resource.owner is not None:
            demo = isinstance(resource, Function) and resource.demo
            result[resource.owner] = result.get(resource.owner, False) or demo
    return result


def without(found: Found, steps: Sequence[Step]) -> Found:
    """What is left of `found` when the steps have removed resources, with all that hung on them."""
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

    return {place: resource for place, resource in found.items() if is_left(resource)}


def owner_of(resource: Resource) -> str | None:
    """Whose a resource is by its tag; None for those that have no tag."""
    return resource.owner if isinstance(resource, _TAGGED) else None


def differences(wanted: Resource, found: Resource) -> tuple[Change, ...]:
    """What differs between two resources of one kind, attribute by attribute."""
    result: list[Change] = []
    for attribute in fields(wanted):
        if not attribute.compare:
            continue
        before, after = getattr(found, attribute.name), getattr(wanted, attribute.name)
        if before == after:
            continue
        if isinstance(after, Mapping):
            result += _mapping_changes(before, after)
        elif attribute.name in _POLICIES:
            result += _mapping_changes(
                _statements(attribute.name, before), _statements(attribute.name, after)
            )
        else:
            result.append(Change(_words(attribute.name), _text(before), _text(after)))
    return tuple(result)


def _step(resource: Resource, found: Found) -> Step | None:
    there = found.get(key(resource))
    if there is None:
        return Create(resource)
    changes = differences(resource, there)
    if not changes:
        return None
    if any(change.attribute in _FIXED.get(type(resource), ()) for change in changes):
        return Replace(resource, there, changes)
    return Update(resource, there, changes)


def _anew(resource: Resource, found: Found) -> Step:
    """The step for what hung on a function that is made anew."""
    there = found.get(key(resource))
    # A function takes its URL and its policy with it; its trigger stays, and leads nowhere.
    if isinstance(resource, Trigger) and there is not None:
        return Replace(resource, there, differences(resource, there))
    return Create(resource)


def _moved(wanted: Alias, found: Found) -> Step:
    """The step for an alias whose function changes before it: to a new version."""
    there = found.get(key(wanted))
    if not isinstance(there, Alias):
        return Create(wanted)
    older = replace(there, version="older") if there.version == CURRENT else there
    return Update(wanted, there, differences(wanted, older))


def _function_of(resource: Alias | FunctionUrl | Permission | Trigger) -> str:
    return resource.name if isinstance(resource, FunctionUrl) else resource.function


def _belongs(resource: Resource, found: Found, owner: str) -> bool:
    if isinstance(resource, Bucket):
        return resource.owner in (owner, None)
    if isinstance(resource, _TAGGED):
        return resource.owner == owner
    if isinstance(resource, Image):
        return False
    # What hangs on a function is whose the function is; a trigger may outlive it.
    function = found.get((Function.kind, _function_of(resource)))
    return function is None or (isinstance(function, Function) and function.owner == owner)


def _check_owner(wanted: Resource, there: Resource | None, adopt: bool) -> None:
    if not isinstance(wanted, _TAGGED) or not isinstance(there, _TAGGED):
        return
    if there.owner == wanted.owner:
        return
    if there.owner is not None:
        raise CloudError(
            f"The {there.kind} {there.name} belongs to the deployment of ASU ID {there.owner}",
            hint=f"facectl destroy --asu-id {there.owner}",
        )
    # S3 tags a bucket in a second call; its name, with our name, the ASU ID and the
    # account's number in it, says as much.
    if not adopt and not isinstance(there, Bucket):
        raise CloudError(
            f"There is a {there.kind} {there.name} already, and it was not made by facectl "
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


def _words(attribute: str) -> str:
    return attribute.replace("_", " ")


def _text(value: object) -> str:
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    return str(value)

"""Reads the actual resources of a deployment; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from facectl.deploy.resources import Alias, Context, Function, Key, Permission, Resource, key


def read_resources(context: Context, desired: Sequence[Resource]) -> dict[Key, Resource]:
    """The actual state of `desired`, with aliases and policy statements of its functions.

    Raises botocore's errors.
    """
    return {key(each): each for resource in desired for each in _read(context, resource)}


def _read(context: Context, resource: Resource) -> Iterator[Resource]:
    current = resource.read(context)
    if current is None:
        return
    yield current
    if isinstance(current, Function):
        yield from Permission.find_all(context, current.name)
        alias = Alias.find(context, current.name)
        if alias is not None:
            yield alias
            yield from Permission.find_all(context, current.name, alias.alias)

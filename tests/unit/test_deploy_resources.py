"""The stages of a deploy: who may call AWS, and that every kind of resource is registered."""

from __future__ import annotations

import ast
import inspect
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

from facectl.deploy import resources
from facectl.deploy.resources import (
    CREATION_ORDER,
    REMOVAL_ORDER,
    Attached,
    Image,
    Permission,
    Resource,
    Subscription,
    Tagged,
)

DEPLOY = Path(__file__).parents[2] / "facectl" / "deploy"
# The methods of a resource that call AWS.
READING = {"read", "find", "find_all", "address", "facts"}
WRITING = {"create", "update", "delete"}
MODULES = [
    import_module(f"{resources.__name__}.{module.name}")
    for module in pkgutil.iter_modules(resources.__path__)
    if module.name != "base"
]


def kinds() -> list[type[Resource]]:
    """Every kind of resource, in whichever module."""
    return [
        kind
        for module in MODULES
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Resource)
        and kind.__module__ == module.__name__
        and not inspect.isabstract(kind)
    ]


def called(module: str) -> set[str]:
    """The methods and functions that a module calls."""
    calls = [each for each in ast.walk(ast.parse(source(module))) if isinstance(each, ast.Call)]
    return {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}


def source(module: str) -> str:
    return (DEPLOY / f"{module}.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("module", ["models", "desired", "steps", "planner"])
def test_planning_calls_no_method_that_calls_aws(module: str) -> None:
    assert called(module) & (READING | WRITING) == set()
    assert "facectl.aws" not in source(module)


def test_the_reader_reads_and_the_executor_writes() -> None:
    assert "read" in called("reader")
    assert called("reader") & WRITING == set()
    assert called("executor") >= WRITING
    assert called("executor") & READING == set()


def test_every_module_of_a_kind_has_its_place_in_the_order_of_creation() -> None:
    assert len(MODULES) > 8
    assert {desired.__module__ for desired in CREATION_ORDER} == {
        module.__name__ for module in MODULES
    }


def test_every_kind_is_removed_or_goes_with_its_parent() -> None:
    with_their_parent = {Image, Permission, Subscription}
    assert all(issubclass(kind, Attached) for kind in with_their_parent)
    assert {*REMOVAL_ORDER, *with_their_parent} == set(kinds())
    assert len(REMOVAL_ORDER) == len(set(REMOVAL_ORDER))


def test_a_kind_has_its_own_name_and_an_owner_or_a_parent() -> None:
    found = kinds()
    assert len({kind.kind for kind in found}) == len(found)
    assert all(issubclass(kind, Tagged) != issubclass(kind, Attached) for kind in found)
    # It is told apart by equality of its fields, and never changed.
    assert all(kind.__dataclass_params__.frozen for kind in found)  # type: ignore[attr-defined]

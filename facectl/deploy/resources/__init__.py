"""The kinds of resources, one module each, and the orders of their creation and removal.

A module has a frozen dataclass, whose fields are compared; `desired()`, without I/O; and `read`,
`create`, `update` and `delete`, which call AWS with a `Context`. To add a kind, copy a module
and add it to both orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from facectl.deploy.models import DesiredState
from facectl.deploy.resources import (
    alarms,
    aliases,
    buckets,
    budgets,
    dashboards,
    function_urls,
    functions,
    images,
    log_groups,
    queues,
    roles,
    subscriptions,
    topics,
    triggers,
)
from facectl.deploy.resources.alarms import Alarm
from facectl.deploy.resources.aliases import Alias
from facectl.deploy.resources.base import Attached, Context, Key, Resource, Tagged, key
from facectl.deploy.resources.buckets import Bucket
from facectl.deploy.resources.budgets import Budget
from facectl.deploy.resources.dashboards import Dashboard
from facectl.deploy.resources.function_urls import FunctionUrl, Permission
from facectl.deploy.resources.functions import Function
from facectl.deploy.resources.images import Image, Repository
from facectl.deploy.resources.log_groups import LogGroup
from facectl.deploy.resources.queues import Queue
from facectl.deploy.resources.roles import Role
from facectl.deploy.resources.subscriptions import Subscription
from facectl.deploy.resources.topics import Topic
from facectl.deploy.resources.triggers import Trigger

__all__ = [
    "CREATION_ORDER", "REMOVAL_ORDER", "Alarm", "Alias", "Attached", "Bucket", "Budget", "Context",
    "Dashboard", "Function", "FunctionUrl", "Image", "Key", "LogGroup", "Permission", "Queue",
    "Repository", "Resource", "Role", "Subscription", "Tagged", "Topic", "Trigger", "key",
]  # fmt: skip

# A resource is created after the resources it refers to.
CREATION_ORDER: tuple[Callable[[DesiredState], Iterable[Resource]], ...] = (
    # Before what they may use: another key is allowed before it encrypts.
    roles.desired,
    buckets.desired,
    queues.desired,
    log_groups.desired,
    images.desired,
    functions.desired,
    aliases.desired,
    function_urls.desired,
    triggers.desired,
    topics.desired,
    subscriptions.desired,
    alarms.desired,
    dashboards.desired,
    budgets.desired,
)
# A resource is deleted before the resources it refers to, and a trigger before its function.
# Images, permissions and subscriptions are deleted with their repository, function and topic.
REMOVAL_ORDER: tuple[type[Resource], ...] = (
    Budget,
    Dashboard,
    Alarm,
    Topic,
    Trigger,
    FunctionUrl,
    Alias,
    Function,
    Repository,
    Queue,
    Role,
    LogGroup,
    Bucket,
)

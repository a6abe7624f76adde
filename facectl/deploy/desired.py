"""The desired resources of a deployment, in creation order. No I/O."""

from __future__ import annotations

from dataclasses import replace

from facectl.context import Target
from facectl.deploy.models import DesiredState, Packaging, TargetCloud
from facectl.deploy.resources import CREATION_ORDER, Resource, key
from lambda_src.settings import usable_cores


def cloud(target: Target, packaging: Packaging | None = None) -> TargetCloud:
    """The properties of a target; `packaging` overrides its default."""
    if target == "aws":
        return TargetCloud(
            target="aws",
            packaging=packaging or "image",
            auth="iam",
            detection_concurrency=None,
            recognition_concurrency=10,
            threads=None,
            https_only=True,
            batches_by_name=False,
        )
    return TargetCloud(
        target="local",
        packaging=packaging or "zip",
        auth="none",
        # Workers are CPU-bound: more than the cores gain nothing. Each stage has its own
        # limit, so that neither starves the other.
        detection_concurrency=max(2, usable_cores() or 1),
        recognition_concurrency=2,
        threads=1,
        https_only=False,
        batches_by_name=True,
    )


def readable(state: DesiredState) -> tuple[Resource, ...]:
    """The desired resources, and the alarms that an earlier deploy may have made.

    Without `state.alarms` there never were any: somebody who does not use them needs no
    permission to read them.
    """
    if state.alarms is None or state.cloud.target != "aws":
        return resources(state)
    desired = resources(state)
    email = state.alarms_email or "anybody"
    # With every option that adds one.
    widest = resources(replace(state, alarms=email, auth="none"))
    names = {key(resource) for resource in desired}
    return (*desired, *(each for each in widest if each.pruned and key(each) not in names))


def resources(state: DesiredState) -> tuple[Resource, ...]:
    """All desired resources; each follows the resources it refers to."""
    return tuple(resource for desired in CREATION_ORDER for resource in desired(state))

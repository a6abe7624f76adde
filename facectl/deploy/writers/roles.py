"""The functions' execution roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facectl.aws import unless_missing
from facectl.deploy.models import Role
from facectl.deploy.reader import ROLE_POLICY
from facectl.deploy.writers.base import Writer, tags

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import TagTypeDef


class RoleWriter(Writer[Role]):
    """One role per function, with one inline policy."""

    def create(self, wanted: Role) -> None:
        self.context.clients.iam.create_role(
            RoleName=wanted.name,
            AssumeRolePolicyDocument=wanted.trust,
            Description="Made by facectl",
            Tags=self._tags(wanted),
        )
        self._put_policy(wanted)

    def update(self, wanted: Role, found: Role) -> None:
        iam = self.context.clients.iam
        if wanted.trust != found.trust:
            iam.update_assume_role_policy(RoleName=wanted.name, PolicyDocument=wanted.trust)
        if wanted.policy != found.policy:
            self._put_policy(wanted)
        if wanted.owner != found.owner:
            iam.tag_role(RoleName=wanted.name, Tags=self._tags(wanted))

    def delete(self, found: Role) -> None:
        iam = self.context.clients.iam
        unless_missing(iam.delete_role_policy, RoleName=found.name, PolicyName=ROLE_POLICY)
        unless_missing(iam.delete_role, RoleName=found.name)

    def _put_policy(self, wanted: Role) -> None:
        self.context.clients.iam.put_role_policy(
            RoleName=wanted.name, PolicyName=ROLE_POLICY, PolicyDocument=wanted.policy
        )

    @staticmethod
    def _tags(wanted: Role) -> list[TagTypeDef]:
        return [{"Key": name, "Value": value} for name, value in tags(wanted.owner).items()]

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

    def create(self, desired: Role) -> None:
        self.context.clients.iam.create_role(
            RoleName=desired.name,
            AssumeRolePolicyDocument=desired.trust,
            Description="Made by facectl",
            Tags=self._tags(desired),
        )
        self._put_policy(desired)

    def update(self, desired: Role, actual: Role) -> None:
        iam = self.context.clients.iam
        if desired.trust != actual.trust:
            iam.update_assume_role_policy(RoleName=desired.name, PolicyDocument=desired.trust)
        if desired.policy != actual.policy:
            self._put_policy(desired)
        if desired.owner != actual.owner:
            iam.tag_role(RoleName=desired.name, Tags=self._tags(desired))

    def delete(self, actual: Role) -> None:
        iam = self.context.clients.iam
        unless_missing(iam.delete_role_policy, RoleName=actual.name, PolicyName=ROLE_POLICY)
        unless_missing(iam.delete_role, RoleName=actual.name)

    def _put_policy(self, desired: Role) -> None:
        self.context.clients.iam.put_role_policy(
            RoleName=desired.name, PolicyName=ROLE_POLICY, PolicyDocument=desired.policy
        )

    @staticmethod
    def _tags(desired: Role) -> list[TagTypeDef]:
        return [{"Key": name, "Value": value} for name, value in tags(desired.owner).items()]

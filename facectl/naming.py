"""The resource names of an ASU ID."""

from __future__ import annotations

import re
from dataclasses import dataclass

from facectl.errors import InputError
from lambda_src.contract import reply_queue

DETECTION_FUNCTION = "face-detection"
RECOGNITION_FUNCTION = "face-recognition"
FUNCTIONS = (DETECTION_FUNCTION, RECOGNITION_FUNCTION)
TAG_KEY = "facectl:asu-id"
# On the functions of a demo deployment; its value is "true".
DEMO_TAG_KEY = "facectl:demo"
# On the queues that a template made; its value is the form of the template.
TEMPLATE_TAG_KEY = "facectl:template"
# CloudFormation adds it to what its stacks make (User Guide, "CloudFormation resource tagging").
STACK_TAG_KEY = "aws:cloudformation:stack-name"
# Marks a queue that is being deleted, which SQS shows for up to a minute.
DELETED_TAG_KEY = "facectl:deleted"
DEMO_ASU_ID = "demo"
# The keys of recorded deploys in the bucket begin with this.
DEPLOYMENTS = "deployments/"

_REPLY = re.compile(r"[0-9a-f]{32}")
# SQS allows 80 of these characters; "-resp-queue" and the bucket's name
# (63 characters, with account and region in it) need the rest.
_ASU_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,23}")


def is_asu_id(text: str) -> bool:
    """Whether the resource names of this ASU ID are valid on AWS."""
    return _ASU_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Names:
    """The resource names of one ASU ID; raises InputError for an invalid ASU ID."""

    asu_id: str

    def __post_init__(self) -> None:
        if not is_asu_id(self.asu_id):
            raise InputError(
                f"ASU ID {self.asu_id!r} can't name a queue: 1 to 24 letters, digits, '-' or '_', "
                "beginning with a letter or digit",
                hint="facectl deploy --asu-id 1225754101",
            )

    @property
    def stem(self) -> str:
        """The part of the queues' and roles' names that differs between ASU IDs."""
        return self.asu_id

    @property
    def request_queue(self) -> str:
        return f"{self.stem}-req-queue"

    @property
    def response_queue(self) -> str:
        return f"{self.stem}-resp-queue"

    def reply_queue(self, reply: str) -> str:
        """The queue for the results of one client; `reply` are 32 hexadecimal digits."""
        return reply_queue(self.response_queue, reply)

    @property
    def reply_queue_prefix(self) -> str:
        return f"{self.stem}-resp-"

    @property
    def reply_queues(self) -> str:
        """All reply queues, for IAM. `?` is one character, so no other queue has such a name.

        `<ID>-resp-*` would be the queues of an ASU ID `<ID>-resp` too.
        """
        return self.reply_queue_prefix + 32 * "?"

    def is_reply_queue(self, name: str) -> bool:
        """Whether a queue is a reply queue of this deployment, and of no other."""
        reply = name.removeprefix(self.reply_queue_prefix)
        return reply != name and _REPLY.fullmatch(reply) is not None

    @property
    def dead_letter_queue(self) -> str:
        return f"{self.stem}-req-dlq"

    @property
    def detection_role(self) -> str:
        return f"facectl-{self.stem}-detection"

    @property
    def recognition_role(self) -> str:
        return f"facectl-{self.stem}-recognition"

    @property
    def alarm_topic(self) -> str:
        return f"facectl-{self.stem}-alarms"

    def alarm(self, what: str) -> str:
        """The name of a CloudWatch alarm, such as `facectl-<ID>-dead-letters`."""
        return f"facectl-{self.stem}-{what}"

    def of_region(self, region: str) -> str:
        """The dashboard's and the budget's name: unique in an account, not only in a region."""
        return f"facectl-{self.stem}-{region}"

    def bucket(self, account: str, region: str) -> str:
        """The gallery's bucket; bucket names are global, so it contains account and region."""
        return f"facectl-{self.asu_id.lower().replace('_', '-')}-{account}-{region}".replace(
            "--", "-"
        )

    @staticmethod
    def log_group(function: str) -> str:
        return f"/aws/lambda/{function}"

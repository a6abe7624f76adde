"""Which messages a worker looked at and has not finished: the evidence that a worker was lost.

Neither the receive count nor the age of a message is evidence: Lambda receives a
message, and keeps it for the visibility timeout, also when it is throttled and no
worker ever sees it. So a worker writes an object before it looks at a message that
came back without a report, and deletes it when it has finished with the message. An
object that a later worker finds was left by one that did not get that far.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from typing import TypeVar

from lambda_src import log
from lambda_src.aws import Aws, AwsError

# Keys of the gallery's bucket.
PREFIX = "attempts/"

T = TypeVar("T")


class Attempts:
    """The attempts of one batch.

    A bucket that fails once is not asked again for this batch: each call may take
    20 seconds, and the messages are looked at without it.
    """

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket
        self._failed = False

    def begin(self, message_id: str) -> None:
        """Write down that this worker looks at the message now, and at no other."""
        self._call(lambda: self._aws.put_object(self._bucket, PREFIX + message_id), None)

    def finish(self, message_id: str) -> None:
        """Delete what `begin` wrote: the worker has survived the message."""
        self._call(lambda: self._aws.delete_object(self._bucket, PREFIX + message_id), None)

    def is_unfinished(self, message_id: str) -> bool:
        """Whether an earlier worker looked at the message and did not finish."""

        def find() -> bool:
            try:
                self._aws.get_object(self._bucket, PREFIX + message_id)
            except AwsError as error:
                if error.status == http.client.NOT_FOUND:
                    return False
                raise
            return True

        return self._call(find, False)

    def _call(self, call: Callable[[], T], otherwise: T) -> T:
        if self._failed:
            return otherwise
        try:
            return call()
        except AwsError as error:
            self._failed = True
            log.error("attempts", None, error=error.code, message=str(error))
            return otherwise

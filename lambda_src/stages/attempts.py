"""Records which messages a worker started and has not finished, to detect crashes.

Neither the receive count nor the age of a message proves a crash: Lambda also
receives a message, and holds it for the visibility timeout, when it is throttled
and invokes no worker. A worker therefore writes an object before it processes a
suspect and deletes it afterwards. An object that a later worker finds was left by
a worker that did not finish.
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

    After one failed call the bucket is not called again for this batch: each call may
    take 20 seconds, and the messages are processed without it.
    """

    def __init__(self, aws: Aws, bucket: str) -> None:
        self._aws = aws
        self._bucket = bucket
        self._failed = False

    def begin(self, message_id: str) -> None:
        """Record that this worker is processing this message, and no other."""
        self._call(lambda: self._aws.put_object(self._bucket, PREFIX + message_id), None)

    def finish(self, message_id: str) -> None:
        """Delete what `begin` wrote: the worker did not crash."""
        self._call(lambda: self._aws.delete_object(self._bucket, PREFIX + message_id), None)

    def is_unfinished(self, message_id: str) -> bool:
        """Whether an earlier worker started the message and did not finish."""

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

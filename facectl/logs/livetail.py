"""A Live Tail session, read by a thread: CloudWatch pushes events as they are ingested."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.errors import CloudError
from facectl.logs.events import LogEvent, event_of
from facectl.naming import Names


class LiveTail:
    """One session. It can end at any time and may skip events under load."""

    def __init__(self, clients: Clients, functions: Sequence[str]) -> None:
        """Open the session; raises CloudError if Live Tail is not available or not allowed."""
        deployment = clients.deployment
        prefix = f"arn:aws:logs:{deployment.region}:{clients.account}:log-group"
        self._functions = {f"{prefix}:{Names.log_group(name)}": name for name in functions}
        self._arrived: queue.SimpleQueue[LogEvent] = queue.SimpleQueue()
        self._activity = "following with Live Tail"
        self._clients = clients
        with cloud_errors(self._activity, deployment):
            response = clients.logs.start_live_tail(logGroupIdentifiers=list(self._functions))
            self._stream: Any = response["responseStream"]
        self.failure: CloudError | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facectl-live", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def arrived(self) -> Iterator[LogEvent]:
        """The events received since the last call."""
        while not self._arrived.empty():
            yield self._arrived.get()

    def close(self) -> None:
        """End the session at its next update; CloudWatch sends one every second."""
        self._closing.set()

    def _run(self) -> None:
        try:
            with cloud_errors(self._activity, self._clients.deployment):
                for update in self._stream:
                    if self._closing.is_set():
                        break
                    for fields in update.get("sessionUpdate", {}).get("sessionResults", []):
                        self._enqueue(fields)
        except CloudError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - a stream closed while it is read can raise any error
            self.failure = CloudError(f"{self._activity}: {error}")
        finally:
            self._stream.close()

    def _enqueue(self, fields: Any) -> None:
        # AWS returns `account:group` although an ARN was given.
        group = str(fields.get("logGroupIdentifier", ""))
        for function in self._functions.values():
            if group.removesuffix(":*").endswith(Names.log_group(function)):
                self._arrived.put(event_of(function, fields))

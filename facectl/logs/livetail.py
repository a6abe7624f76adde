"""StartLiveTail: events pushed as they are ingested, in a session that a thread reads."""

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
    """One session. It may end at any time, and may leave out events where there are too many."""

    def __init__(self, clients: Clients, functions: Sequence[str]) -> None:
        """Open the session; raises CloudError where it is not offered or not allowed."""
        deployment = clients.deployment
        place = f"arn:aws:logs:{deployment.region}:{clients.account}:log-group"
        self._functions = {f"{place}:{Names.log_group(name)}": name for name in functions}
        self._arrived: queue.SimpleQueue[LogEvent] = queue.SimpleQueue()
        self._doing = "following with Live Tail"
        self._clients = clients
        with cloud_errors(self._doing, deployment):
            answer = clients.logs.start_live_tail(logGroupIdentifiers=list(self._functions))
            self._stream: Any = answer["responseStream"]
        self.failure: CloudError | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="facectl-live", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def arrived(self) -> Iterator[LogEvent]:
        """The events that came since the last call."""
        while not self._arrived.empty():
            yield self._arrived.get()

    def close(self) -> None:
        """End the session, at its next update: there is one a second."""
        self._closing.set()

    def _run(self) -> None:
        try:
            with cloud_errors(self._doing, self._clients.deployment):
                for update in self._stream:
                    if self._closing.is_set():
                        break
                    for fields in update.get("sessionUpdate", {}).get("sessionResults", []):
                        self._take(fields)
        except CloudError as error:
            self.failure = error
        except Exception as error:  # noqa: BLE001 - a stream closed under its reader raises anything
            self.failure = CloudError(f"{self._doing}: {error}")
        finally:
            self._stream.close()

    def _take(self, fields: Any) -> None:
        # AWS answers `account:group` where an ARN was asked for.
        named = str(fields.get("logGroupIdentifier", ""))
        for function in self._functions.values():
            if named.removesuffix(":*").endswith(Names.log_group(function)):
                self._arrived.put(event_of(function, fields))

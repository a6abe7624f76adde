"""Reads the functions' logs in CloudWatch: past events by pages, new ones by Live Tail."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from facectl.aws import Clients, cloud_errors
from facectl.aws_errors import is_denied, is_missing
from facectl.errors import CloudError
from facectl.logs.events import LogEvent, event_of
from facectl.logs.times import Window
from facectl.naming import Names
from facectl.retry import Backoff

# Limits of FilterLogEvents: events per page and log streams per call.
PAGE_SIZE = 10_000
MAX_STREAMS = 100
# Seconds of retries; throttling usually ends within a few.
_RETRY_SECONDS = 60.0


class NoLogYetError(CloudError):
    """A function has no log group: it is not deployed or has not run."""


class LogSource:
    """FilterLogEvents of a deployment; transient errors are retried for `retry_seconds`."""

    def __init__(
        self,
        clients: Clients,
        *,
        retry_seconds: float = _RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clients = clients
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._sleep = sleep

    def events(
        self, function: str, window: Window, *, pattern: str = "", streams: Sequence[str] = ()
    ) -> Iterator[LogEvent]:
        """The events of a window, approximately in the order of time.

        `pattern` only reduces the data read: a local cloud may ignore it. Raises
        NoLogYetError, or CloudError for permanent errors.
        """
        seen: set[str] = set()
        for start in range(0, max(1, len(streams)), MAX_STREAMS):
            request: dict[str, Any] = {
                "logGroupName": Names.log_group(function),
                "startTime": int(window.start * 1000),
                "endTime": int(window.end * 1000) + 1,
            }
            if pattern:
                request["filterPattern"] = pattern
            if streams:
                request["logStreamNames"] = list(streams[start : start + MAX_STREAMS])
            for event in self._pages(function, request):
                if event.event_id is not None:
                    if event.event_id in seen:
                        continue
                    seen.add(event.event_id)
                yield event

    def _pages(self, function: str, request: dict[str, Any]) -> Iterator[LogEvent]:
        token: str | None = None
        skip = 0
        while True:
            page = self._page(function, {**request, **({"nextToken": token} if token else {})})
            events = [event_of(function, fields) for fields in page.get("events", [])]
            yield from events[skip:]
            next_token = page.get("nextToken")
            if next_token == token:
                # The last page, except on MiniStack: it truncates at a full page without a token.
                if next_token is not None or len(events) < PAGE_SIZE:
                    return
                last = events[-1].timestamp
                if last == events[0].timestamp:
                    return
                skip = sum(event.timestamp == last for event in events)
                request = {**request, "startTime": last}
            else:
                if next_token is None:
                    return
                token, skip = next_token, 0

    def _page(self, function: str, request: dict[str, Any]) -> Any:
        backoff = Backoff(limit=self._retry_seconds, clock=self._clock, sleep=self._sleep)
        return backoff.call(lambda: self._read(function, request))

    def _read(self, function: str, request: dict[str, Any]) -> Any:
        try:
            with cloud_errors(f"reading the log of {function}", self._clients.deployment):
                return self._clients.logs.filter_log_events(**request)
        except CloudError as error:
            if is_missing(error):
                raise NoLogYetError(
                    f"There is no log of {function} yet: it is not deployed or has not run",
                    hint="facectl deploy   or   facectl send",
                ) from error
            if is_denied(error):
                raise CloudError(
                    str(error), hint=f"allow logs:FilterLogEvents on {Names.log_group(function)}"
                ) from error
            raise


class LiveTail:
    """One Live Tail session, read by a thread: CloudWatch pushes events as they are ingested.

    It can end at any time and may skip events under load.
    """

    def __init__(self, clients: Clients, functions: Sequence[str]) -> None:
        """Open the session; raises CloudError if Live Tail is not available or not allowed."""
        deployment = clients.deployment
        prefix = f"arn:{clients.partition}:logs:{deployment.region}:{clients.account}:log-group"
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

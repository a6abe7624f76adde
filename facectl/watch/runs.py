"""Sends the frames of each source in a thread of its own, and opens cameras again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from facectl.aws import Clients
from facectl.console import printable
from facectl.context import Deployment
from facectl.errors import FacectlError
from facectl.retry import exponential
from facectl.stream.delivery import FunctionUrlClient
from facectl.stream.live import LiveSource, Reconnection
from facectl.stream.responses import ResponseQueue
from facectl.stream.results import RunStats
from facectl.stream.sampling import Sampling
from facectl.stream.session import RunOptions, RunReport, Session
from facectl.stream.shared import SharedTransport
from facectl.stream.sources import Source, open_source
from facectl.stream.transport import Transport, function_url
from facectl.visits.outputs import Recording, VisitListener, VisitOutputs, recorded
from facectl.watch.cloud import CloudState, WaitingEndpoint, WaitingQueue
from facectl.watch.figures import Figures
from facectl.watch.state import ShownSource, WatchState

# Attempts of a POST before the page says that the cloud does not answer.
_ATTEMPTS = 2
# Seconds until a camera that has gone is opened again.
_REOPEN = exponential(1.0, 30.0)
# Seconds that the end waits for the runs: those of `Recording` and of the sender.
_LAST_WAIT = 20.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """How every source is sent, and what is written of its visits; `loop` repeats files."""

    sampling: Sampling
    run: RunOptions
    visits: VisitOutputs
    loop: bool = False


class SourceRun:
    """The runs of one source, one after the other, in a thread; `report` is that of the last.

    A camera that disappears is opened again until the run is stopped, and a file is sent once,
    or again and again with `loop`. `tell` gets sentences for the terminal.
    """

    def __init__(
        self,
        text: str,
        options: WatchOptions,
        deployment: Deployment,
        state: WatchState,
        *,
        tell: Callable[[str], None],
    ) -> None:
        self.figures = Figures()
        self.report: RunReport | None = None
        self.failure: Exception | None = None
        self.stopping = threading.Event()
        self._text = text
        self._options = options
        self._deployment = deployment
        self._state = state
        self._tell = tell
        # Opened before the page is served: a wrong path ends the command.
        self._source: Source | None = self._open()
        self.live = self._source.live
        self.shown: ShownSource = state.add(
            printable(self._source.name), live=self.live, loops=options.loop and not self.live
        )
        self._session: Session | None = None
        self._thread = threading.Thread(target=self._run, name="facectl-watch", daemon=True)

    def start(self, transport: SharedTransport, visits: VisitOutputs) -> None:
        """Start the thread; `visits` has the file that all sources write."""
        self._visits = visits
        self._transport = transport.camera(str(self.shown.number))
        self._thread.start()

    def stop(self) -> None:
        """End the run as Ctrl-C does; returns at once."""
        self.stopping.set()
        if self._session is not None:
            self._session.interrupt()
        if isinstance(self._source, LiveSource):
            self._source.close()

    def join(self, timeout: float | None = _LAST_WAIT) -> bool:
        """Wait for the thread; returns whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Frames in flight: accepted, and not answered yet."""
        session = self._session
        return 0 if session is None else session.tracker.counts.waiting

    def _run(self) -> None:
        try:
            while self._one_run() and not self.stopping.is_set():
                pass
        except FacectlError as error:
            self.failure = error
            self._state.set_status(self.shown, "stopped", f"{error}")
            self._tell(f"{self.shown.name}: {error}")
        except Exception as error:
            self.failure = error
            self._state.set_status(self.shown, "stopped", "An error of facectl ended this run.")
            raise

    def _one_run(self) -> bool:
        """Send the source once; returns whether to send it again."""
        source = self._opened()
        if source is None:
            return False
        self._state.begin(self.shown, source)
        self.report = report = self._send(source)
        self._source = None
        if report.interrupted:
            self._state.set_status(self.shown, "stopped", "Stopped.")
            return False
        full = self._options.sampling.limit is not None and not source.problems
        if source.live and not full:
            why = str(report.failure or "; ".join(report.problems) or "it ended")
            self._state.set_status(self.shown, "away", f"{why}. It is opened again.")
            self._tell(f"{why}. It is opened again")
            return True
        if report.failure is not None:
            raise report.failure
        if self._options.loop and not source.live:
            return True
        self._state.set_status(self.shown, "ended", _ended(report))
        return False

    def _opened(self) -> Source | None:
        """The source, opened again where needed; None once the run is stopped."""
        failures = 0
        while self._source is None:
            # A file that is repeated needs no delay.
            if self.live and self.stopping.wait(_REOPEN(failures + 1)):
                return None
            try:
                self._source = self._open()
            except FacectlError as error:
                failures += 1
                if not self.live:
                    raise
                self._state.set_status(self.shown, "away", f"{error}. It is opened again.")
        return None if self.stopping.is_set() else self._source

    def _open(self) -> Source:
        return open_source(
            [self._text],
            self._options.sampling,
            reconnection=Reconnection(report=self._camera),
            max_side=self._options.run.request_options.encoding.max_side,
        )

    def _camera(self, sentence: str) -> None:
        """What a camera tells that is gone or back."""
        gone = self.shown.status == "running"
        self._state.set_status(self.shown, "away" if gone else "running", f"{sentence}.")
        self._tell(sentence)

    def _send(self, source: Source) -> RunReport:
        deployment, run = self._deployment, self._options.run
        with ExitStack() as stack:
            session = Session(
                self._transport,
                run,
                RunStats(0),
                synthetic=deployment.synthetic,
            )
            session.tracker.listen(lambda outcome: self._state.answered(self.shown, outcome))
            session.tracker.listen(self.figures)
            session.listen_to_images(lambda index, file: self._state.sent(self.shown, index, file))
            listener = VisitListener(
                lambda event: self._state.visit(self.shown, event),
                lambda events: self._state.current(self.shown, events),
            )
            recording = stack.enter_context(
                recorded(
                    self._visits,
                    session,
                    source,
                    deployment=deployment,
                    report=self._tell,
                    listener=listener,
                )
            )
            self._session = session
            if self.stopping.is_set():
                session.interrupt()
            report = session.run(source)
            return self._end_visits(recording, report)

    def _end_visits(self, recording: Recording, report: RunReport) -> RunReport:
        try:
            recording.finish(report)
        except FacectlError as error:
            return replace(report, failure=report.failure or error)
        self._tell(f"{self.shown.name}: {recording.summary()}")
        return report


def shared_transport(
    deployment: Deployment, connections: int, cloud: CloudState, *, stopping: threading.Event
) -> SharedTransport:
    """The transport of all sources, which waits while the cloud does not answer."""
    clients = Clients(deployment)
    endpoint = FunctionUrlClient(
        function_url(clients),
        connections=connections,
        sign=clients.sign if deployment.signs else None,
        attempts=_ATTEMPTS,
    )
    queue = WaitingQueue(ResponseQueue(clients), cloud, sleep=stopping.wait)
    transport = Transport(WaitingEndpoint(endpoint, cloud), queue, endpoint.close)
    return SharedTransport(transport, concurrency=connections)


def _ended(report: RunReport) -> str:
    """The sentence of a file that was sent."""
    counts = report.counts
    text = f"{counts.accepted} frames sent, {counts.answered} answered."
    return " ".join([text, *(f"{problem}." for problem in report.problems)])

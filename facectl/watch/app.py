"""Connects the runs of the sources, the figures and the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette

from facectl.aws import Clients
from facectl.bench import conditions
from facectl.console import printable
from facectl.context import Deployment
from facectl.errors import FacectlError, NotRunningError
from facectl.queues import count_messages
from facectl.strangers.actions import StrangerActions
from facectl.stream.shared import sender_threads
from facectl.visits.file import VisitsFile
from facectl.watch import figures
from facectl.watch.actions import PageActions
from facectl.watch.cloud import CloudState
from facectl.watch.figures import FunctionSize
from facectl.watch.history import DayHistory, crop_finder, midnight
from facectl.watch.hub import Hub
from facectl.watch.runs import SourceRun, WatchOptions, shared_transport
from facectl.watch.security import Access
from facectl.watch.server import image, make_app
from facectl.watch.state import MOST_VISITS, WatchState

# Frames of a source in flight: one is shown when it is answered, so more would only be late.
_WINDOW = 64
# Seconds between figures, and between counts of dead letters: on AWS each is a request.
_FIGURES_EVERY = 1.0
_STRANGERS_EVERY = 1.0
_COUNTED_EVERY = {"local": 3.0, "aws": 60.0}


class Watch:
    """Everything of one `facectl watch`; raises InputError for a source that can't be opened."""

    def __init__(
        self,
        deployment: Deployment,
        texts: Sequence[str],
        options: WatchOptions,
        *,
        tell: Callable[[str], None],
    ) -> None:
        self.state = WatchState(Hub())
        self._deployment = deployment
        self._tell = tell
        self._stopping = threading.Event()
        self._dead_letters: int | None = None
        self._sizes: Mapping[str, FunctionSize] = {}
        self._cloud = CloudState(self._cloud_changed)
        self._set_cloud(None)
        self.state.hub.put(
            "run",
            {
                "deployment": str(deployment.asu_id),
                "target": deployment.target,
                "synthetic": deployment.synthetic,
                "since": time.time(),
                "visits_file": options.visits.file is not None,
            },
        )
        self._actions = PageActions(
            StrangerActions(deployment),
            self.state,
            deployment.asu_id,
            kept=options.visits.strangers is not None,
            show=image,
        )
        self._visits = options.visits
        self._connections = options.run.concurrency
        threads = sender_threads(self._connections, len(texts))
        sent = replace(options.run, concurrency=threads, window=_WINDOW, ends_unanswered=False)
        options = replace(options, run=sent)
        self.runs = [SourceRun(text, options, deployment, self.state, tell=tell) for text in texts]

    def app(self, access: Access) -> Starlette:
        """The application of the page."""
        return make_app(self.state, access, self._actions.routes())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send every source while the block runs, then end their runs and wait for them."""
        threads = [
            threading.Thread(target=work, name=f"facectl-{work.__name__}", daemon=True)
            for work in (self._count, self._show_figures, self._show_strangers)
        ]
        shared = shared_transport(
            self._deployment, self._connections, self._cloud, stopping=self._stopping
        )
        with ExitStack() as stack:
            visits = self._visits
            if visits.file is not None:
                file = stack.enter_context(closing(self._opened_file(visits.file)))
                visits = replace(visits, file=None, shared_file=file)
            transport = stack.enter_context(shared)
            for thread in threads:
                thread.start()
            for run in self.runs:
                run.start(transport, visits)
            try:
                yield
            finally:
                self._stop()

    def _opened_file(self, path: Path) -> VisitsFile:
        """Open the visits file, and show the visits of today that earlier runs wrote to it.

        Those of a file without a clock are not shown: it is sent again, and so are its visits.
        """
        sources = {run.shown.name: run.shown for run in self.runs if run.shown.has_clock}
        history = DayHistory(sources, midnight(time.time()))
        file = VisitsFile(path, None, each=history)
        kept = self._visits.strangers is not None
        crop = crop_finder(self._visits.crops, self._deployment.asu_id, strangers=kept)
        for past in history.visits()[-MOST_VISITS:]:
            source = sources[printable(past.event.source)]
            self.state.restore(source, past, crop(past.event.visit))
        return file

    def _stop(self) -> None:
        self._stopping.set()
        for run in self.runs:
            run.stop()
        for run in self.runs:
            if not run.join():
                self._tell(f"{run.shown.name}: it did not end in time")

    def _cloud_changed(self, failure: str | None) -> None:
        self._set_cloud(failure)
        if failure is None:
            self._tell("The cloud answers again")
        else:
            self._tell(f"The cloud does not answer, frames wait: {failure}")

    def _set_cloud(self, failure: str | None) -> None:
        self.state.hub.put("cloud", {"failure": failure, "since": time.time()})

    def _count(self) -> None:
        """Count dead letters until the end."""
        clients = Clients(self._deployment)
        while not self._stopping.wait(self._counted(clients)):
            pass

    def _counted(self, clients: Clients) -> float:
        """Count them once, and read the functions' sizes; returns the seconds to wait then."""
        try:
            name = self._deployment.names.dead_letter_queue
            self._dead_letters = count_messages(clients, name).total
            if not self._sizes:
                self._sizes = {
                    function: FunctionSize(found.memory, found.architecture)
                    for function, found in conditions.functions(clients).items()
                }
        except NotRunningError as error:
            return self._cloud.failed("count", error)
        except FacectlError:
            # Whoever may only send frames can't count: the page shows a dash.
            self._dead_letters = None
        self._cloud.succeeded("count")
        return _COUNTED_EVERY[self._deployment.target]

    def _show_figures(self) -> None:
        while not self._stopping.wait(_FIGURES_EVERY):
            self.state.hub.put("figures", self._figures())

    def _show_strangers(self) -> None:
        told: str | None = None
        while not self._stopping.wait(_STRANGERS_EVERY):
            problem = self._shown_strangers()
            if problem not in {None, told}:
                self._tell(f"The strangers can't be shown: {problem}")
            told = problem

    def _shown_strangers(self) -> str | None:
        """Show the groups as they are stored now; returns why that failed."""
        try:
            self._actions.publish()
        except FacectlError as error:
            return str(error)
        return None

    def _figures(self) -> dict[str, object]:
        answers = [answer for run in self.runs for answer in run.figures.recent()]
        local = self._deployment.target == "local"
        months = [
            month
            for each in self.runs
            if (
                month := figures.month(
                    each.figures.recent(), each.figures.mean_rate(), self._sizes, local=local
                )
            )
        ]
        return {
            "rate": sum(run.figures.rate() for run in self.runs),
            "rates": [run.figures.rate() for run in self.runs],
            **figures.latency(answers),
            "in_flight": sum(run.waiting for run in self.runs),
            "dead_letters": self._dead_letters,
            "stages": figures.stages(answers),
            "month": None
            if not months
            else {
                **months[0],
                "month": sum(month["month"] for month in months),
                "rate": sum(month["rate"] for month in months),
            },
        }

"""Runs `facectl watch`: checks its extra, serves the page until Ctrl-C, opens the browser."""

from __future__ import annotations

import importlib.util
import signal
import threading
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from facectl.console import note, say, warn
from facectl.context import Deployment
from facectl.errors import ExitCode, InputError

if TYPE_CHECKING:
    from facectl.watch.runs import SourceRun, WatchOptions

_TICK = 0.2


@dataclass(frozen=True, slots=True)
class Page:
    """Where the page is served, and whether a browser is opened; `token` None: a random one."""

    host: str
    port: int
    token: str | None
    opens: bool


def check_extra() -> None:
    """Raise InputError where the packages of the page are not installed."""
    for package in ("starlette", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            raise InputError(
                f"the page needs the package {package}", hint="pip install 'facectl[web]'"
            )


def run(
    deployment: Deployment,
    texts: Sequence[str],
    options: WatchOptions,
    page: Page,
    *,
    opened: Callable[[str], object] = webbrowser.open,
) -> None:
    """Send every source and serve the page until Ctrl-C."""
    check_extra()
    from facectl.watch.app import Watch
    from facectl.watch.security import Access
    from facectl.watch.server import PageServer

    # Refused before anything is opened.
    Access.choose(page.host, page.port, page.token)
    watch = Watch(deployment, texts, options, tell=note)
    with ExitStack() as stack:
        server = PageServer(page.host, page.port)
        access = Access.choose(page.host, server.port, page.token)
        stack.enter_context(server.start(watch.app(access), watch.state))
        if deployment.synthetic:
            warn("Synthetic weights: the model is untrained, so its names mean nothing")
        say(f"Watching at {access.url}")
        note("Ctrl-C ends it")
        stack.enter_context(watch.running())
        if page.opens:
            threading.Thread(target=opened, args=(access.url,), daemon=True).start()
        wait_for_interrupt(watch.runs)
    finish(watch.runs)


def wait_for_interrupt(runs: Sequence[SourceRun]) -> None:
    """Return after Ctrl-C, or when a service manager stops the command (SIGTERM).

    Raises the error of a source if no source could be sent at all.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        # With a timeout, because an endless wait can't be interrupted on every platform.
        while not threading.Event().wait(_TICK):
            failures = [each.failure for each in runs if each.report is None and each.failure]
            if len(failures) == len(runs):
                raise failures[0]
    except KeyboardInterrupt:
        return


def finish(runs: Sequence[SourceRun]) -> None:
    """Print what each source has sent, and exit with 1 if one failed."""
    for each in runs:
        if each.report is not None:
            counts = each.report.counts
            say(f"{each.shown.name}: {counts.accepted} sent, {counts.answered} answered")
    if any(each.failure is not None for each in runs):
        raise typer.Exit(ExitCode.FOUND)

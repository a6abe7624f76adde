"""Runs `facectl watch`, and opens its page in a browser."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# Against a page that hangs; no measure of speed.
HUNG_MS = 300_000


@dataclass
class Watching:
    """A running `facectl watch`: its process, the address of its page, what it printed."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(240)


@contextmanager
def watching(environment: dict[str, str], *arguments: object) -> Iterator[Watching]:
    """`facectl watch` with these arguments, once its page is served; stopped by Ctrl-C."""
    command = [str(Path(sys.executable).with_name("facectl")), "watch", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--no-open"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    url = None
    for line in process.stdout:
        lines.append(line)
        found = re.search(r"http://\S+", line)
        if found and "Watching at" in line:
            url = found.group(0)
            break
    assert url is not None, "".join(lines)
    watch = Watching(process, url, lines)
    reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
    reader.start()
    try:
        yield watch
    finally:
        watch.stop()
        reader.join(60)


class Page:
    """A page in the browser that logs nothing and asks no other host for anything."""

    def __init__(self, browser: Any, url: str, width: int = 1280, scheme: str = "light") -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            reduced_motion="reduce",
        )
        self.width = width
        self.logged: list[str] = []
        self.asked: list[str] = []
        self.url = url
        self.page = self.context.new_page()
        self.page.set_default_timeout(HUNG_MS)
        self.page.on("console", lambda message: self.logged.append(message.text))
        self.page.on("pageerror", lambda error: self.logged.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(url)

    def wait(self, expression: str, argument: Any = None) -> None:
        """Wait until the expression is true in the page.

        Playwright's own wait evaluates text in the page, which the page's policy forbids.
        """
        deadline = time.monotonic() + HUNG_MS / 1000
        while not self.page.evaluate(expression, argument):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(50)

    def wait_for_box(self, name: str) -> None:
        """Wait until a picture shows a box with this name."""
        self.wait("name => [...document.querySelectorAll('.box')].some("
                  "box => box.textContent === name)", name)  # fmt: skip

    def tab_to(self, selector: str) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(80):
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not reach {selector}")

    def violations(self) -> list[str]:
        """The serious findings of axe-core, and those that are worse."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
        found = axe.run(self.page).response["violations"]
        return [
            f"{each['id']}: {node['html']} {node['failureSummary']}"
            for each in found
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]

    def check(self) -> None:
        """The page fits its width, logged nothing, and asked only its own server."""
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.width
        assert self.logged == []
        origin = re.match(r"http://[^/]+/", self.url)
        assert origin is not None
        others = [each for each in self.asked if not each.startswith(origin.group(0))]
        assert others == []

    def close(self) -> None:
        """Close the page."""
        self.context.close()


@contextmanager
def opened_page(browser: Any, url: str, width: int = 1280, scheme: str = "light") -> Iterator[Page]:
    """A page that is checked at its end."""
    page = Page(browser, url, width, scheme)
    try:
        yield page
        page.check()
    finally:
        page.close()

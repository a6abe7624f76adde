"""Runs a command for each event, with its JSON on standard input."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress

from facectl.errors import InputError
from facectl.visits.delivery import RefusedError, UndeliveredError
from facectl.visits.event_queue import QueuedEvent

_TIMEOUT = 30.0
# EX_TEMPFAIL of sysexits.h: the command asks to be run again.
_TEMPORARY = 75


class Command:
    """A command, run without a shell; its exit code 75 is retried, any other failure is not.

    Raises InputError for one that does not exist. It is killed, with the processes that
    it started, after `timeout` seconds.
    """

    def __init__(self, text: str, *, timeout: float = _TIMEOUT) -> None:
        try:
            self._arguments = shlex.split(text)
        except ValueError as error:
            raise InputError(f"command:{text} can't be read: {error}") from error
        if not self._arguments:
            raise InputError("command: names no command", hint="--on-visit 'command:notify-me -v'")
        if shutil.which(self._arguments[0]) is None:
            raise InputError(f"{self._arguments[0]} is not a command that can be run")
        self.name = f"command:{self._arguments[0]}"
        self.key = f"command:{text}"
        self._timeout = timeout

    def deliver(self, event: QueuedEvent) -> None:
        """Run the command; raises UndeliveredError or RefusedError."""
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own command
                self._arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            raise UndeliveredError(f"it can't be run: {error.strerror}") from error
        try:
            process.communicate(event.body.encode() + b"\n", timeout=self._timeout)
        except subprocess.TimeoutExpired as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise RefusedError(f"it ran for more than {self._timeout:g} s") from error
        if process.returncode == _TEMPORARY:
            raise UndeliveredError(f"exit code {_TEMPORARY}")
        if process.returncode:
            raise RefusedError(f"exit code {process.returncode}")

    def close(self) -> None:
        """Nothing is open between events."""

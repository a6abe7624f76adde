"""The functions' billed duration of a run, from the REPORT lines in the logs."""

from __future__ import annotations

import time
from collections.abc import Callable

from facectl.aws import Clients
from facectl.aws_errors import is_denied
from facectl.bench import conditions
from facectl.bench.cost import Billed
from facectl.bench.run import Run
from facectl.errors import CloudError, FacectlError, NotRunningError
from facectl.logs.report import gather
from facectl.logs.times import Window
from facectl.naming import DETECTION_FUNCTION, FUNCTIONS, RECOGNITION_FUNCTION

# Logs arrive seconds late on AWS, at once on a local cloud.
_TRIES = {"aws": 8, "local": 4}
_PAUSE = {"aws": 5.0, "local": 0.3}
# Seconds read before and after the run: the cost is divided by all invocations found.
_MARGIN = 1.0


def of_run(
    clients: Clients,
    run: Run,
    *,
    edge: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    sleep: Callable[[float], object] = time.sleep,
) -> tuple[dict[str, Billed], str | None]:
    """Billed duration by function, and the reason why it is missing or incomplete, or None.

    `edge`: the run detected faces itself, so that only face-recognition was invoked.
    """
    if not run.complete and not conditions.functions(clients):
        # Reading the logs would only retry until it times out.
        return {}, "the run ended early, and the functions can't be reached any more"
    offset = run.offset.seconds if run.offset is not None else 0.0
    start = run.began - offset - _MARGIN
    window = Window(start, start + run.seconds + 2 * _MARGIN)
    target = clients.deployment.target
    found: dict[str, Billed] = {}
    missing: str | None = None
    for attempt in range(_TRIES[target]):
        if attempt:
            sleep(_PAUSE[target])
        try:
            found, missing = _read(clients, window, tell), None
        except FacectlError as error:
            missing = str(error)
            if isinstance(error, NotRunningError) or (
                isinstance(error, CloudError) and is_denied(error)
            ):
                break
            continue
        if edge and RECOGNITION_FUNCTION in found:
            # How many batches there were is not known: what has arrived after a pause.
            if attempt:
                break
        elif DETECTION_FUNCTION in found:
            if found[DETECTION_FUNCTION].invocations >= run.counts.accepted:
                break
        else:
            missing = "the logs hold no REPORT line of the run"
    return found, missing


def _read(clients: Clients, window: Window, tell: Callable[[str], None]) -> dict[str, Billed]:
    architectures = {
        name: function.architecture for name, function in conditions.functions(clients).items()
    }
    return {
        report.function: Billed(
            invocations=report.invocations,
            seconds=report.billed_seconds,
            memory=report.memory_mb,
            architecture=architectures.get(report.function, "x86_64"),
        )
        for report in gather(clients, FUNCTIONS, window, tell=tell)
        if report.invocations and report.memory_mb is not None
    }

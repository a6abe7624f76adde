"""What both functions do in Lambda's init phase, and how they mark their cold start."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from lambda_src import cpu, log
from lambda_src.aws import Aws
from lambda_src.settings import FunctionSettings
from lambda_src.timing import Stopwatch, process_age_ms
from lambda_src.vision.store import Model

Stage = TypeVar("Stage")


class ColdStart:
    """Tells the first invocation of an execution environment from the later ones.

    Created at import, when the init phase is over.
    """

    def __init__(self) -> None:
        self._init_ms = process_age_ms()
        self._is_next = True

    def begin(self, context: object) -> float | None:
        """Begin an invocation; all log lines from here on name it.

        Returns the duration of the init phase in milliseconds (0 where it is unknown)
        if this invocation is the cold start, else None.
        """
        is_cold, self._is_next = self._is_next, False
        invocation = getattr(context, "aws_request_id", None)
        log.begin(invocation, cold_start=is_cold, init_ms=self._init_ms)
        return (self._init_ms or 0.0) if is_cold else None


def load(
    networks: tuple[str, ...], build: Callable[[Model, Aws, FunctionSettings], Stage]
) -> Stage:
    """Open the model with these networks, build a stage from it, and log the `init` line.

    On an exception the line names it, and Lambda delivers the messages again. Raises
    ModelStoreError, ValueError for a wrong environment variable, KeyError without
    credentials, and whatever `build` raises.
    """
    watch = Stopwatch()
    try:
        settings = FunctionSettings.from_environment(os.environ)
        aws = Aws.from_environment(os.environ)
        with watch.stage("init"):
            model = Model.open(settings.model_dir, networks)
            stage = build(model, aws, settings)
    except Exception as error:
        log.error("init", None, error=type(error).__name__, message=str(error), cpu=cpu.features())
        raise
    log.info(
        "init",
        None,
        space=model.space,
        synthetic=model.synthetic,
        precision=model.precision,
        cpu=cpu.features(),
        threads=settings.threads,
        duration_ms=round(watch.durations_ms["init"], 2),
        process_ms=process_age_ms(),
    )
    return stage

"""Latencies of single frames, drawn from the steps of a simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facectl.plan.formulas import Capacity
from facectl.plan.scenarios import STEP, Floats

_LATENCIES = 100_000


@dataclass(frozen=True, slots=True)
class Steps:
    """What each step of a simulation counted.

    `accepted`: frames by step and by attempt; `retry_steps`: steps before each further
    attempt. `messages`: that came to the request queue, with the `redelivered`; `served`:
    in batches of `batch`. `cold_*`: cold starts.
    """

    accepted: Floats
    retry_steps: Sequence[int]
    messages: Floats
    redelivered: Floats
    served: Floats
    batch: Floats
    cold_detection: Floats
    cold_recognition: Floats


def draw_latencies(
    capacity: Capacity, steps: Steps, shown: range, generator: np.random.Generator
) -> Floats:
    """Latencies in seconds, ascending, of 100,000 frames that were answered in the steps `shown`.

    Empty if none was.
    """
    places = np.arange(len(steps.served))
    inside = (places >= shown.start) & (places < shown.stop)
    faceless = steps.accepted.sum(axis=1) * (1 - capacity.load.with_face) * inside
    served = steps.served * inside
    with_face = float(served.sum())
    total = float(faceless.sum()) + with_face
    if total <= 0:
        return np.zeros(0)
    draw = _Draw(capacity, steps, generator)
    count = round(_LATENCIES * (1 - with_face / total))
    parts = []
    if count:
        at = _choose(faceless, count, generator)
        parts.append(draw.front(at) + capacity.times.answer.draw(generator, count))
    if count < _LATENCIES:
        parts.append(draw.behind(_choose(served, _LATENCIES - count, generator)))
    return np.sort(np.concatenate(parts))


def _choose(weights: Floats, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Steps drawn in proportion to their weights."""
    sums = np.cumsum(weights)
    drawn = generator.random(count) * sums[-1]
    places: NDArray[np.int64] = np.searchsorted(sums, drawn, side="right")
    return places.clip(0, len(sums) - 1)


@dataclass(frozen=True, slots=True)
class _Draw:
    """Draws the parts of the latency of frames, by the step in which something happened."""

    capacity: Capacity
    steps: Steps
    generator: np.random.Generator

    def front(self, at: NDArray[np.int64]) -> Floats:
        """Seconds from the camera to the queue of frames that were accepted in steps `at`."""
        times, generator, count = self.capacity.times, self.generator, len(at)
        sums = np.cumsum(self.steps.accepted, axis=1)
        drawn = generator.random(count) * sums[at, -1]
        attempts = (sums[at] <= drawn[:, None]).sum(axis=1)
        waits = np.concatenate([[0.0], np.cumsum(self.steps.retry_steps)]) * STEP
        seconds: Floats = waits[attempts.clip(0, len(waits) - 1)]
        seconds = seconds + times.post.draw(generator, count) + times.detect.draw(generator, count)
        share = self.steps.cold_detection / np.maximum(sums[:, -1], 1e-9)
        cold = generator.random(count) < share[at]
        return seconds + np.where(cold, times.detect_start.draw(generator, count), 0.0)

    def behind(self, at: NDArray[np.int64]) -> Floats:
        """Seconds from the camera to the answer of frames that were served in steps `at`."""
        times, generator, count = self.capacity.times, self.generator, len(at)
        arrived, wait = self._waited(at)
        batch = np.maximum(self.steps.batch, 1.0)
        share = self.steps.cold_recognition / np.maximum(self.steps.served / batch, 1e-9)
        cold = generator.random(count) < share[at]
        faces = batch[at] * self.capacity.load.faces_a_message
        factor = np.where(faces <= 1, faces, 1 + (faces - 1) * times.further_face)
        again = self.steps.redelivered / np.maximum(self.steps.messages, 1e-9)
        hidden = generator.random(count) < again[arrived]
        seconds = self.front(arrived) + wait + times.poll.draw(generator, count)
        seconds += times.embed.draw(generator, count) * factor
        seconds += np.where(cold, times.recognise_start.draw(generator, count), 0.0)
        seconds += np.where(hidden, self.capacity.settings.visibility_timeout, 0.0)
        return seconds + times.answer.draw(generator, count)

    def _waited(self, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], Floats]:
        """The steps in which the messages came, and the seconds that they waited in the queue."""
        steps = self.steps
        came = np.concatenate([[0.0], np.cumsum(steps.messages)])
        left = np.concatenate([[0.0], np.cumsum(steps.served)])
        share = self.generator.random(len(at))
        # Served in order: this message came when as many had come.
        place = np.minimum(left[at] + share * steps.served[at], came[-1])
        arrived = (np.searchsorted(came, place, side="left") - 1).clip(0, at)
        within = (place - came[arrived]) / np.maximum(steps.messages[arrived], 1e-9)
        wait = (at + share - arrived - within.clip(0.0, 1.0)) * STEP
        # A step without an accepted frame can be met by rounding: take the step of the service.
        arrived = np.where(steps.accepted[arrived].sum(axis=1) > 0, arrived, at)
        return arrived, np.maximum(0.0, wait)

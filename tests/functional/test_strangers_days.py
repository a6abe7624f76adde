"""A camera that runs for days: the faces of strangers take no more disk and memory each day."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import closing
from datetime import timedelta

import numpy as np
import pytest
from stranger_data import event, person
from test_strangers_collector import Run

from facectl.strangers.store import StrangerStore, path

pytestmark = [pytest.mark.usefixtures("isolated"), pytest.mark.slow]

DAY = 86_400.0
START = 1_800_000_000.0
RETENTION = timedelta(days=2)
# Each day the same five people come often, and as many others once.
REGULARS = 5
VISITS = 30
FACES = 4


def faces_of(day: int, visit: int) -> np.ndarray:
    regular = visit % 2 == 0
    seed = visit % (2 * REGULARS) if regular else 1000 + day * VISITS + visit
    faces = person(seed, VISITS * FACES) if regular else person(seed, FACES)
    return faces[visit * FACES :][:FACES] if regular else faces


def test_the_faces_of_nine_days_take_no_more_than_those_of_three() -> None:
    run = Run(now=START, retention=RETENTION)
    disk, memory = [], []
    tracemalloc.start()
    try:
        for day in range(9):
            for visit in range(VISITS):
                run.now = START + day * DAY + visit * DAY / VISITS
                name = f"0123456789ab-{day * VISITS + visit:06d}-0"
                run.take(name, faces_of(day, visit))
                run.collector.see(event(name, None))
                # The queue is bounded: more than 64 faces at once would be dropped.
                run.collector.flush()
            gc.collect()
            memory.append(tracemalloc.get_traced_memory()[0])
            disk.append(sum(file.stat().st_size for file in path("alice").parent.iterdir()))
    finally:
        tracemalloc.stop()
        run.collector.close()
    assert run.reports == []
    assert run.collector.dropped == 0
    # Two days are kept, so the third has as much as any later one.
    assert max(disk[3:]) <= 1.2 * disk[2]
    assert max(memory[3:]) <= memory[2] + 2_000_000
    with closing(StrangerStore.open("alice")) as store:
        [[oldest]] = store.select("SELECT min(time) FROM faces")
        # Old faces are looked for every ten minutes, here at each visit.
        assert oldest >= run.now - RETENTION.total_seconds() - DAY / VISITS - 600
        # The regulars are groups still, and nobody who came once and long ago is.
        groups = store.groups()
        assert sum(group.faces > FACES for group in groups) == REGULARS
        assert len(groups) <= REGULARS + 3 * VISITS // 2

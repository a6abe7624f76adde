"""A batch whose gallery does not arrive: one wait, within the invocation's timeout."""

from __future__ import annotations

import threading

import pytest
from test_stages import MODEL, SETTINGS, SPACE, Embedder, Queues, record

from lambda_src.gallery.source import GallerySource
from lambda_src.stages.recognise import RecogniseStage


class Clock:
    """A clock that advances only by waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return event.is_set()


class SilentBucket:
    """Never answers while the test runs."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def get_object(self, *_: object, **__: object) -> None:
        self.over.wait()


@pytest.mark.parametrize(("seconds", "waited"), [(60.0, 20.0), (15.0, 6.0), (4.0, 0.5)])
def test_ten_records_fail_within_the_deadline_if_no_gallery_arrives(
    seconds: float, waited: float
) -> None:
    clock, bucket, queues = Clock(), SilentBucket(), Queues()
    source = GallerySource(
        bucket,  # type: ignore[arg-type]
        "bucket",
        space=SPACE,
        refresh=5.0,
        clock=clock,
        wait=clock.wait,
    )
    stage = RecogniseStage(
        MODEL,
        Embedder(),  # type: ignore[arg-type]
        source,
        queues,  # type: ignore[arg-type]
        SETTINGS,
        clock,
        clock.sleep,
    )
    batch = [record(f"r{index}", 10) for index in range(10)]
    try:
        assert stage.process(batch, seconds=seconds) == [f"m-r{index}" for index in range(10)]
    finally:
        bucket.over.set()
    assert clock.now == waited
    assert clock.now < seconds
    # Each is retried soon, by a worker that has a gallery by then.
    assert [hidden for _, _, hidden in queues.hidden] == [1] * 10

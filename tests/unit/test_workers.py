"""Parts of a computation in several threads: order, errors and sizes."""

from __future__ import annotations

import threading

import pytest

from lambda_src.vision.workers import Workers


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_results_are_in_the_order_of_the_parts(threads: int, count: int) -> None:
    workers = Workers(threads)
    for _ in range(3):
        assert workers.map(lambda part: part * part, range(count)) == [n * n for n in range(count)]


def test_parts_run_side_by_side() -> None:
    # Each part waits for the other: one thread alone would time out.
    both = threading.Barrier(2, timeout=60)
    assert sorted(Workers(2).map(lambda _: both.wait(), "ab")) == [0, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_the_error_of_a_part_is_raised_and_the_next_call_works(threads: int) -> None:
    workers = Workers(threads)
    with pytest.raises(ZeroDivisionError):
        workers.map(lambda part: 1 / part, [2, 1, 0, 3])
    assert workers.map(str, [1, 2, 3]) == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("threads", "count", "limit", "sizes"),
    [
        (1, 20, 8, [6, 7, 7]),
        (1, 8, 8, [8]),
        (1, 1, 8, [1]),
        (2, 8, 8, [4, 4]),
        (2, 1, 8, [1]),
        (2, 36, 8, [6, 6, 6, 6, 6, 6]),
        (3, 2, 8, [1, 1]),
    ],
)
def test_parts_are_even_and_as_many_for_each_thread(
    threads: int, count: int, limit: int, sizes: list[int]
) -> None:
    parts = Workers(threads).split(count, limit)
    assert [part.stop - part.start for part in parts] == sizes
    assert [part.start for part in parts] == [sum(sizes[:n]) for n in range(len(sizes))]
    assert parts[-1].stop == count

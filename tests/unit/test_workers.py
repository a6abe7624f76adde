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


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_parts_run_side_by_side(threads: int) -> None:
    # Each part waits for the others: fewer threads would time out.
    all_of_them = threading.Barrier(threads, timeout=60)
    found = Workers(threads).map(lambda _: all_of_them.wait(), range(threads))
    assert sorted(found) == list(range(threads))


def helpers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "facectl-vision"}


def test_threads_are_started_once_and_not_for_a_single_part() -> None:
    before, workers = helpers(), Workers(3)
    for _ in range(5):
        assert workers.map(str, [7]) == ["7"]
    assert helpers() == before
    for _ in range(5):
        workers.map(str, range(20))
    # The calling thread is the third.
    assert len(helpers() - before) == 2


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

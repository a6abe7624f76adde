"""The hub of `facectl watch`: every browser gets the newest values, a slow one fewer of them."""

from __future__ import annotations

import asyncio
import threading

from facectl.watch.hub import Hub, Subscriber


def test_a_browser_begins_with_every_value() -> None:
    hub = Hub()
    hub.put("run", {"synthetic": True})
    hub.put("visit/a", {"person": "Ann"})
    hub.put("visit/b", {"person": None})
    hub.put("visit/a", None)

    async def first() -> object:
        with hub.subscribed() as subscriber:
            return await subscriber.take(5)

    assert asyncio.run(first()) == {"run": {"synthetic": True}, "visit/b": {"person": None}}
    assert hub.value("visit/a") is None


def test_a_slow_browser_gets_the_newest_frame_and_loses_those_before() -> None:
    hub = Hub()

    async def slow() -> tuple[object, object]:
        with hub.subscribed() as subscriber:
            await subscriber.take(5)
            for index in range(10_000):
                hub.put("frame/0", {"index": index})
            hub.put("visit/a", {"person": "Ann"})
            return await subscriber.take(5), await subscriber.take(0.01)

    taken, after = asyncio.run(slow())
    assert taken == {"frame/0": {"index": 9999}, "visit/a": {"person": "Ann"}}
    assert after == {}


def test_a_removed_value_is_passed_on_as_none() -> None:
    hub = Hub()
    hub.put("visit/a", {"person": "Ann"})

    async def removed() -> object:
        with hub.subscribed() as subscriber:
            await subscriber.take(5)
            hub.put("visit/a", None)
            return await subscriber.take(5)

    assert asyncio.run(removed()) == {"visit/a": None}


def test_values_of_other_threads_wake_a_browser_that_waits() -> None:
    hub = Hub()

    async def waiting() -> object:
        with hub.subscribed() as subscriber:
            await subscriber.take(5)
            taking = asyncio.create_task(subscriber.take(60))
            await asyncio.sleep(0)
            thread = threading.Thread(target=hub.put, args=("figures", {"rate": 4.0}))
            thread.start()
            return await taking

    assert asyncio.run(waiting()) == {"figures": {"rate": 4.0}}


def test_the_end_comes_after_what_was_not_taken() -> None:
    hub = Hub()

    async def ended() -> list[object]:
        with hub.subscribed() as subscriber:
            hub.put("run", {})
            hub.close()
            return [await subscriber.take(5), await subscriber.take(5)]

    assert asyncio.run(ended()) == [{"run": {}}, None]


def test_putting_a_value_does_not_need_the_event_loop_of_a_browser_that_has_gone() -> None:
    found: list[Subscriber] = []
    hub = Hub()

    async def keep() -> None:
        with hub.subscribed() as subscriber:
            found.append(subscriber)

    asyncio.run(keep())
    found[0].put("run", {})
    hub.put("run", {})

import asyncio
from collections.abc import AsyncIterator

from deployd.domain import Event
from deployd.events import Events


async def _take(stream: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(count)]


async def test_a_watcher_sees_what_happens_after_it_began() -> None:
    events = Events()
    events.publish("step", "iris", 1, {"name": "old"})
    stream = events.watch()
    waiting = asyncio.create_task(_take(stream, 2))
    await asyncio.sleep(0)
    events.publish("step", "iris", 1, {"name": "fetch"})
    events.publish("step", "iris", 1, {"name": "build"})
    assert [event.data["name"] for event in await waiting] == ["fetch", "build"]


async def test_a_watcher_that_reconnects_gets_what_it_missed() -> None:
    events = Events()
    for number in range(5):
        events.publish("step", "iris", number, {})
    first = await _take(events.watch(after=0), 1)
    assert first[0].kind == "reset"
    seen = first[0].id - 2
    assert [event.number for event in await _take(events.watch(after=seen), 2)] == [3, 4]


async def test_a_watcher_with_an_id_from_before_a_restart_gets_a_reset() -> None:
    events = Events()
    events.publish("step", "iris", 1, {})
    assert (await _take(events.watch(after=17), 1))[0].kind == "reset"


async def test_a_watcher_that_missed_more_than_the_buffer_holds_gets_a_reset() -> None:
    events = Events()
    events.publish("step", "iris", 0, {})
    first = (await _take(events.watch(after=0), 1))[0].id
    for number in range(3000):
        events.publish("step", "iris", number, {})
    assert (await _take(events.watch(after=first), 1))[0].kind == "reset"


async def test_events_that_follow_a_reset_reach_the_watcher() -> None:
    events = Events()
    for number in range(3000):
        events.publish("step", "iris", number, {})
    stream = events.watch(after=0)
    assert (await _take(stream, 1))[0].kind == "reset"
    events.publish("step", "iris", 3000, {})
    events.publish("step", "iris", 3001, {})
    assert [event.number for event in await _take(stream, 2)] == [3000, 3001]

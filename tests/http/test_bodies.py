from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from deployd.errors import DeliveryRejected
from deployd.http.bodies import SMALL, Bodies, Gone


def sender(*chunks: bytes, end: bool = True) -> Callable[[], Awaitable[dict[str, Any]]]:
    """Messages of one body in these chunks; without `end`, the client then hangs up."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left:
            return await hung_up()
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left) or not end}

    return receive


async def hung_up() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def refused(reading: Awaitable[bytes]) -> DeliveryRejected:
    with pytest.raises(DeliveryRejected) as found:
        await reading
    return found.value


async def test_the_chunks_of_a_body_are_put_together() -> None:
    bodies = Bodies(most_held=0)
    assert await bodies.read(sender(b"abc"), 10) == b"abc"
    assert await bodies.read(sender(b"abc", b"", b"def"), 6) == b"abcdef"
    assert await bodies.read(sender(b""), 0) == b""


async def test_a_body_larger_than_its_limit_is_refused_at_the_chunk_that_breaks_it() -> None:
    bodies = Bodies(most_held=10**9)
    assert (await refused(bodies.read(sender(b"x" * 11), 10))).status == 413
    assert (await refused(bodies.read(sender(b"x" * 6, b"x" * 6, end=False), 10))).status == 413


async def test_a_client_that_hangs_up_is_gone() -> None:
    with pytest.raises(Gone):
        await Bodies(most_held=0).read(hung_up, 10)


async def test_large_bodies_share_what_may_be_held_until_they_are_released() -> None:
    size = 2 * SMALL
    bodies = Bodies(most_held=2 * size)
    first, second = (
        await bodies.read(sender(b"x" * size), size),
        await bodies.read(sender(b"x" * SMALL, b"x" * SMALL), size),
    )
    busy = await refused(bodies.read(sender(b"x" * size), size))
    assert (busy.status, busy.retry_after) == (503, 10)
    assert len(await bodies.read(sender(b"x" * SMALL), size)) == SMALL
    bodies.release(first)
    assert len(await bodies.read(sender(b"x" * size), size)) == size
    bodies.release(second)


async def test_a_body_that_is_refused_or_cut_off_holds_nothing() -> None:
    size = 2 * SMALL
    bodies = Bodies(most_held=size)
    for _ in range(3):
        with pytest.raises(Gone):
            await bodies.read(sender(b"x" * size, end=False), size)
        assert (await refused(bodies.read(sender(b"x" * size, b"x"), size))).status == 413
    assert len(await bodies.read(sender(b"x" * size), size)) == size

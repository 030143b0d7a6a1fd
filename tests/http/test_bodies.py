from typing import Any

import pytest
from starlette.types import Receive

from deployd.errors import DeliveryRejected
from deployd.http.bodies import SMALL, Bodies, Gone


def sender(*chunks: bytes, end: bool = True) -> Receive:
    """ASGI messages of one body in these chunks; without `end`, the client disconnects after them."""
    left = list(chunks)

    async def receive() -> dict[str, Any]:
        if not left:
            return await hung_up()
        chunk = left.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(left) or not end}

    return receive


async def hung_up() -> dict[str, Any]:
    return {"type": "http.disconnect"}


async def read(bodies: Bodies, receive: Receive, limit: int) -> bytes:
    async with bodies.read(receive, limit) as body:
        return body


async def refused(bodies: Bodies, receive: Receive, limit: int) -> DeliveryRejected:
    with pytest.raises(DeliveryRejected) as found:
        await read(bodies, receive, limit)
    return found.value


async def test_the_chunks_of_a_body_are_put_together() -> None:
    bodies = Bodies(most=0)
    assert await read(bodies, sender(b"abc"), 10) == b"abc"
    assert await read(bodies, sender(b"abc", b"", b"def"), 6) == b"abcdef"
    assert await read(bodies, sender(b""), 0) == b""


async def test_a_body_larger_than_its_limit_is_refused_at_the_chunk_that_breaks_it() -> None:
    bodies = Bodies(most=10**9)
    assert (await refused(bodies, sender(b"x" * 11), 10)).status == 413
    assert (await refused(bodies, sender(b"x" * 6, b"x" * 6, end=False), 10)).status == 413


async def test_a_client_that_disconnects_raises_gone() -> None:
    with pytest.raises(Gone):
        await read(Bodies(most=0), hung_up, 10)


async def test_large_bodies_share_one_limit_while_they_are_in_use() -> None:
    size = 2 * SMALL
    bodies = Bodies(most=2 * size)
    async with bodies.read(sender(b"x" * SMALL, b"x" * SMALL), size):
        async with bodies.read(sender(b"x" * size), size):
            busy = await refused(bodies, sender(b"x" * size), size)
            assert (busy.status, busy.retry_after) == (503, 10)
            assert len(await read(bodies, sender(b"x" * SMALL), size)) == SMALL
        assert len(await read(bodies, sender(b"x" * size), size)) == size
    assert bodies.size == 0


async def test_a_refused_or_incomplete_body_frees_its_share() -> None:
    size = 2 * SMALL
    bodies = Bodies(most=size)
    for _ in range(3):
        with pytest.raises(Gone):
            await read(bodies, sender(b"x" * size, end=False), size)
        assert (await refused(bodies, sender(b"x" * size, b"x"), size)).status == 413
    assert len(await read(bodies, sender(b"x" * size), size)) == size

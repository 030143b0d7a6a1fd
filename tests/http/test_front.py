import asyncio

import pytest

from deployd.http.front import Front


class Written(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]  # bytes are all that is written
        assert not self.closed, "as uvloop's: a closed one takes nothing"
        self.packets.append(data)

    def is_closing(self) -> bool:
        return self.closed


@pytest.mark.parametrize(
    ("written", "leaves"),
    [
        ([b"head", b"body"], [b"headbody"]),
        ([b"head", b"x" * 5000, b"end"], [b"head" + b"x" * 5000, b"end"]),
        ([b"x"] * 20, [b"x" * 16, b"x" * 4]),
        ([], []),
    ],
    ids=["small", "large", "many", "nothing"],
)
async def test_what_is_small_and_written_at_once_leaves_at_once(written: list[bytes], leaves: list[bytes]) -> None:
    left = Written()
    front = Front(asyncio.get_running_loop(), left, left.close, left.is_closing)
    for data in written:
        front.write(data)
    await asyncio.sleep(0)
    assert left.packets == leaves
    front.write(b"next")
    front.flush()
    front.mute()
    front.write(b"too late")
    await asyncio.sleep(0)
    assert left.packets == [*leaves, b"next"]


async def test_nothing_is_written_to_a_client_that_went_in_the_same_turn() -> None:
    left = Written()
    front = Front(asyncio.get_running_loop(), left, left.close, left.is_closing)
    front.write(b"an event")
    left.closed = True
    front.flush()
    assert left.packets == []

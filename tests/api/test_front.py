import asyncio

import pytest

from deployd.api.front import Front


class Written(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.packets: list[bytes] = []

    def write(self, data: bytes) -> None:  # type: ignore[override]  # bytes are all that is written
        self.packets.append(data)


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

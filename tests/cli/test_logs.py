"""A log that is printed for somebody who stops reading, as `| head` does."""

from collections.abc import AsyncGenerator

import pytest

from deployd.cli import logs


async def test_the_stream_is_closed_when_nobody_reads_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []

    async def blocks() -> AsyncGenerator[bytes]:
        try:
            yield b"one\ntwo\n"
            yield b"three\n"
        finally:
            closed.append(True)

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(logs, "_say", gone)
    with pytest.raises(BrokenPipeError):
        await logs._print(blocks(), "iris", as_json=True)
    assert closed == [True]

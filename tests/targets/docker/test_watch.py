import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployd.errors import Unavailable
from deployd.targets.docker.watch import Watch


class Engine:
    """As much of an engine as a watch needs: a version, and events that a test sends."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                self.asked.append(head.split(" ")[1])
                if "/events" in head:
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                    )
                    await self.streams.put(writer)
                    await reader.read()
                    return
                writer.write(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def watched(watch: Watch) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.serve())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


def event(writer: asyncio.StreamWriter) -> None:
    line = b'{"Type": "container", "Action": "die"}\n'
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))


async def test_it_corrects_at_the_start_after_each_event_and_when_notified(tmp_path: Path) -> None:
    engine, looks = Engine(), asyncio.Queue[None]()
    async with await asyncio.start_unix_server(engine.serve, tmp_path / "docker.sock"):
        watch = Watch(f"unix://{tmp_path}/docker.sock", "here", lambda: looks.put(None))
        async with watched(watch):
            await looks.get()
            stream = await engine.streams.get()
            event(stream)
            await looks.get()
            watch.notify()
            await looks.get()
            assert looks.empty()
    assert "io.deployd.instance%3Dhere" in engine.asked[-1] or "io.deployd.instance=here" in engine.asked[-1]


async def test_a_broken_stream_is_opened_again_and_followed_by_a_correction(tmp_path: Path) -> None:
    engine, looks = Engine(), asyncio.Queue[None]()
    watch = Watch(f"unix://{tmp_path}/docker.sock", "here", lambda: looks.put(None))
    async with await asyncio.start_unix_server(engine.serve, tmp_path / "docker.sock"), watched(watch):
        await looks.get()
        (await engine.streams.get()).close()
        await looks.get()
        await engine.streams.get()


async def test_a_stopped_engine_is_waited_for(tmp_path: Path) -> None:
    engine, looks = Engine(), asyncio.Queue[None]()
    async with watched(Watch(f"unix://{tmp_path}/docker.sock", "here", lambda: looks.put(None))):
        await looks.get()
        async with await asyncio.start_unix_server(engine.serve, tmp_path / "docker.sock"):
            await engine.streams.get()
            await looks.get()


async def test_a_failed_correction_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries, again = 0, asyncio.Event()

    async def correct() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("the gateway does not answer")
        again.set()

    async with watched(Watch(f"unix://{tmp_path}/docker.sock", "here", correct)):
        await again.wait()
    assert "the gateway does not answer" in caplog.text

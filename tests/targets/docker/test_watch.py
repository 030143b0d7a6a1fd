import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployd.errors import Unavailable
from deployd.ports.target import Changed
from deployd.targets.docker.watch import Watch


class Engine:
    """As much of an engine as a watch needs: a version, and events that a test sends."""

    def __init__(self) -> None:
        self.streams: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.asked: list[str] = []
        self.containers: dict[str, dict[str, str]] = {}  # their labels

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
                found = next((labels for name, labels in self.containers.items() if f"/{name}/json" in head), None)
                body = json.dumps({"Config": {"Labels": found}, "message": "no such container"}).encode()
                code = b"404 Not Found" if "/gone/json" in head else b"200 OK"
                writer.write(
                    b"HTTP/1.1 %s\r\nApi-Version: 1.41\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                    % (code, len(body), body)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def well() -> None:
    """The gateway answers."""


def ignored(app: str | None) -> None:
    """Nobody wants to know."""


@asynccontextmanager
async def watched(watch: Watch, changed: Changed = ignored) -> AsyncIterator[None]:
    task = asyncio.create_task(watch.serve(changed))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


def event(writer: asyncio.StreamWriter, kind: str = "container", action: str = "die", **about: str) -> None:
    line = json.dumps({"Type": kind, "Action": action, "Actor": {"Attributes": about}}).encode() + b"\n"
    writer.write(b"%x\r\n%s\r\n" % (len(line), line))


OURS = {"io.deployd.instance": "here"}


async def test_it_corrects_at_the_start_after_an_event_of_the_gateway_and_when_notified(tmp_path: Path) -> None:
    engine, looks = Engine(), asyncio.Queue[None]()
    async with await asyncio.start_unix_server(engine.serve, tmp_path / "docker.sock"):
        watch = Watch(f"unix://{tmp_path}/docker.sock", "here", lambda: looks.put(None), well)
        async with watched(watch):
            await looks.get()
            stream = await engine.streams.get()
            event(stream, **OURS)
            await looks.get()
            event(stream, "network", "destroy", name="deployd-here")
            await looks.get()
            watch.notify()
            await looks.get()
            assert looks.empty()


async def test_it_tells_which_app_an_event_is_about_and_nothing_of_others(tmp_path: Path) -> None:
    engine, told = Engine(), asyncio.Queue[str | None]()
    engine.containers["c1"] = {**OURS, "io.deployd.app": "rose"}
    engine.containers["c2"] = {"io.deployd.app": "iris"}
    async with await asyncio.start_unix_server(engine.serve, tmp_path / "docker.sock"):
        watch = Watch(f"unix://{tmp_path}/docker.sock", "here", well, well)
        async with watched(watch, told.put_nowait):
            stream = await engine.streams.get()
            event(stream, **{"io.deployd.instance": "elsewhere", "io.deployd.app": "iris"})
            event(stream, name="a person's")
            event(stream, "network", "disconnect", container="c2", name="backend")
            event(stream, "network", "disconnect", container="gone", name="backend")
            event(stream, "network", "destroy", name="backend")
            event(stream, **OURS, **{"io.deployd.app": "iris"})
            assert await told.get() == "iris"
            event(stream, "network", "disconnect", container="c1", name="backend")
            assert await told.get() == "rose"
            watch.notify()
            event(stream, **OURS)  # the gateway's container
            assert await told.get() is None
            assert told.empty()


async def test_a_gateway_that_stops_answering_is_corrected_without_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.targets.docker.watch._ASK_EVERY_S", 0.01)
    looks, answers = asyncio.Queue[None](), [None, Unavailable("the gateway does not answer")]

    async def ask() -> None:
        if answers and (answer := answers.pop(0)) is not None:
            raise answer

    async with watched(Watch(f"unix://{tmp_path}/docker.sock", "here", lambda: looks.put(None), ask)):
        await looks.get()
        while answers:
            await looks.get()


@pytest.mark.slow
async def test_a_broken_stream_is_opened_again_and_followed_by_a_correction(tmp_path: Path) -> None:
    engine, looks = Engine(), asyncio.Queue[None]()
    watch = Watch(f"unix://{tmp_path}/docker.sock", "here", lambda: looks.put(None), well)
    async with await asyncio.start_unix_server(engine.serve, tmp_path / "docker.sock"), watched(watch):
        await looks.get()
        (await engine.streams.get()).close()
        await looks.get()
        await engine.streams.get()


@pytest.mark.slow
async def test_a_stopped_engine_is_waited_for(tmp_path: Path) -> None:
    engine, looks = Engine(), asyncio.Queue[None]()
    async with watched(Watch(f"unix://{tmp_path}/docker.sock", "here", lambda: looks.put(None), well)):
        await looks.get()
        async with await asyncio.start_unix_server(engine.serve, tmp_path / "docker.sock"):
            await engine.streams.get()
            await looks.get()


@pytest.mark.slow
async def test_a_failed_correction_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries, again = 0, asyncio.Event()

    async def correct() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable("the gateway does not answer")
        again.set()

    async with watched(Watch(f"unix://{tmp_path}/docker.sock", "here", correct, well)):
        await again.wait()
    assert "the gateway does not answer" in caplog.text

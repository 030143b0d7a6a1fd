"""A way to a cluster's API server that a test can close: to whoever takes it, the server is gone. Nobody else takes it.

It passes bytes on, TLS included, so it works with any cluster, also with one that is not ours to stop.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

from tests.testbed.cluster import Cluster


class Way:
    """A loopback port that leads to `host` and `port`; `way_to` makes it. It may be closed and opened again."""

    def __init__(self, host: str, port: int, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.port = 0
        self._to = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._taken: set[asyncio.Task[None]] = set()
        self._closed: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None

    def open(self) -> None:
        """Let connections through, at the same port as before."""
        opened = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve(opened)), name="way to the API server")
        self._thread.start()
        opened.wait()

    def close(self) -> None:
        """Break every connection, and refuse others."""
        if self._thread is not None and self._loop is not None and self._closed is not None:
            self._loop.call_soon_threadsafe(self._closed.set)
            self._thread.join()
            self._thread = None

    async def _serve(self, opened: Event) -> None:
        self._loop, self._closed = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._came, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        opened.set()
        await self._closed.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._taken)

    def _came(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = asyncio.ensure_future(self._take(reader, writer))
        self._taken.add(taken)
        taken.add_done_callback(self._taken.discard)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there: asyncio.StreamWriter | None = None
        self._writers.add(writer)
        try:
            answers, there = await asyncio.open_connection(*self._to)
            self._writers.add(there)
            if self._closed is not None and self._closed.is_set():
                raise ConnectionAbortedError
            await asyncio.gather(_pass_on(reader, there), _pass_on(answers, writer))
        except OSError:
            writer.transport.abort()
        finally:
            for one in (writer, there):
                if one is not None:
                    self._writers.discard(one)
                    one.close()
                    with suppress(OSError):
                        await one.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(64 * 1024):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@contextmanager
def way_to(cluster: Cluster, directory: Path) -> Iterator[Way]:
    """A way of the test's own to the cluster's API server, open, with a kubeconfig that takes it."""
    words = ("config", "view", "--raw", "--minify", "--flatten", "--output=json")
    found: dict[str, Any] = json.loads(cluster.kubectl(*words))
    settings = found["clusters"][0]["cluster"]
    server = urlsplit(settings["server"])
    way = Way(str(server.hostname), server.port or 443, directory / "kubeconfig-by-a-way")
    way.open()
    try:
        settings["server"] = server._replace(netloc=f"127.0.0.1:{way.port}").geturl()
        # The certificate is that of the server, not of this port.
        settings.setdefault("tls-server-name", server.hostname)
        way.kubeconfig.write_text(json.dumps(found))
        way.kubeconfig.chmod(0o600)
        yield way
    finally:
        way.close()

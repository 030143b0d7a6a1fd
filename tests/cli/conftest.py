"""The command line as a person uses it: a real process or typer's runner, against a daemon in another thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest
from typer.testing import CliRunner, Result

from deployd.cli.app import app
from deployd.cli.output import console
from tests.desk import desk, settings

T = TypeVar("T")


class Neighbour:
    """A daemon in its own thread and loop. `do` runs a coroutine there."""

    def __init__(self, directory: Path, **sections: Any) -> None:
        self._directory = directory
        self._settings = settings("iris", "rose", **sections)
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.url = self.public_url = ""  # of the Unix socket, and over TCP

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(20)
        return self

    def __exit__(self, *exc: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def _serve(self) -> None:
        self.loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with (
            desk(self._directory, self._settings) as self.desk,
            self.desk.listening() as self.url,
            self.desk.listening_publicly() as self.public_url,
        ):
            self._up.set()
            await self._stop.wait()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Neighbour]:
    """Two apps, iris and rose; the environment names it."""
    with Neighbour(tmp_path / "state") as running:
        monkeypatch.setenv("DEPLOYD_URL", running.url)
        monkeypatch.delenv("DEPLOYD_TOKEN", raising=False)
        yield running


@pytest.fixture
def command() -> Iterator[Callable[..., Result]]:
    """Run `deployd ARGUMENTS` in this process."""

    def run(*arguments: str) -> Result:
        console.cache_clear()  # the runner puts other streams in place
        return CliRunner().invoke(app, list(arguments))

    yield run
    console.cache_clear()

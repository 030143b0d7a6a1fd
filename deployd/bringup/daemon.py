"""A deployd process for the demo, the tests and bench: its config, start, stop and clean-up.

Everything that it creates on the engine carries a unique instance name, by which all of it is found and removed.
"""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

import httpx

from deployd.bringup import leftovers
from deployd.bringup.api import EngineApi
from deployd.bringup.ports import free_port
from deployd.builders.unnamed import UnnamedImages
from deployd.config.daemon import SOCKET
from deployd.errors import Unavailable
from deployd.tasks import first

_START_S = 60.0
_STOP_S = 60.0

CONFIG = """\
[server]
port = {port}
state_dir = "{state}"
instance = "{instance}"

[github]
secrets = ["env:DEPLOYD_DEMO_SECRET"]

[git]
allow_file = true
poll_every = "1h"

[[app]]
name = "{app}"
repo = "file://{remote}"
webhook = "github.com/acme/iris"
branch = "main"
[app.docker]
port = 5000
drain = "5s"
[app.gateway]
listen = {public_port}
[app.ready]
path = "/v2/health/ready"
commit_path = "/version"
"""


class Process(Protocol):
    """A process that was started; asyncio's are of this kind."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    async def wait(self) -> int: ...
    def send_signal(self, signal: int, /) -> None: ...
    def kill(self) -> None: ...


@dataclass(slots=True)
class DemoDaemon:
    """One deployd with one app; `port` is that of its webhooks, `public_port` the app's."""

    directory: Path
    remote: Path
    instance: str
    port: int
    public_port: int
    secret: str
    app: str = "iris-demo"
    program: tuple[str, ...] = ("-m", "deployd")
    environment: dict[str, str] = field(default_factory=dict)
    process: Process | None = None

    @property
    def url(self) -> str:
        """The URL of its webhooks and its health."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """Where its API needs no token: its Unix socket."""
        return f"unix://{self.directory / 'state' / SOCKET}"

    @property
    def public_url(self) -> str:
        """The URL of its app."""
        return f"http://127.0.0.1:{self.public_port}"

    def container(self, number: int) -> str:
        """The name of the container of a deploy of its app."""
        return f"deployd-{self.instance}-{self.app}-{number}"

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of its program."""
        return "run", "--config", str(self.directory / "config.toml")

    @property
    def whole_environment(self) -> dict[str, str]:
        """The environment of its process."""
        return {**os.environ, **self.environment, "DEPLOYD_DEMO_SECRET": self.secret}

    @property
    def log(self) -> Path:
        """The file of its own log."""
        return self.directory / "deployd.log"

    @classmethod
    def prepare(cls, directory: Path, remote: Path, config: str = CONFIG, app: str = "iris-demo") -> Self:
        """Choose two free ports and write the config from the template `config`."""
        port, public_port = free_port(), free_port()
        instance = f"demo-{secrets.token_hex(4)}"
        daemon = cls(directory, remote, instance, port, public_port, secrets.token_hex(16), app)
        text = config.format(
            port=port, state=directory / "state", instance=instance, remote=remote, public_port=public_port, app=app
        )
        (directory / "config.toml").write_text(text)
        return daemon

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Start it and wait until it answers; stop it at the end."""
        try:
            await self.start()
            await self.wait_until_ready()
            yield self
        finally:
            await self.stop()

    async def start(self) -> None:
        """Start the process, without waiting until it answers."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self.program,
                *self.arguments,
                env=self.whole_environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def stop(self) -> None:
        """Send SIGTERM, as systemd does; SIGKILL when it does not end."""
        if self.process is None or self.process.returncode is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_STOP_S):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
            await self.process.wait()

    def remove_everything(self, api: EngineApi) -> list[str]:
        """Remove all that it created on the engine, the untagged images of its builds too; return what was removed."""
        removed = [str(found) for found in leftovers.remove(api, self.instance)]
        for unnamed in reversed(UnnamedImages(self.directory / "state" / "unnamed-images").all()):
            with suppress(Unavailable):  # another image is built on it
                if api.delete(f"/images/{unnamed}"):
                    removed.append(f"image {unnamed[:19]}")
        return removed

    async def wait_until_ready(self) -> None:
        """Wait until it answers; Unavailable with the end of its log when it ends instead."""
        assert self.process is not None  # noqa: S101 - only `running` calls this
        answers = False
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_S):
                answers = (await first(self.process.wait(), self._healthy()))[0] == 1
        if not answers:
            raise Unavailable("deployd did not start", hint=self.log.read_text()[-2000:])

    async def _healthy(self) -> None:
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            while True:
                try:
                    await client.get(f"{self.url}/healthz")
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                else:
                    return

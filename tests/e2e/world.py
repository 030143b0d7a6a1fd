"""The world of one test: a repository with a tiny app, a daemon of its own on the real engine, clients.

The app answers its commit everywhere, fast enough for a flood; files in the commit tell it how to misbehave.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from deployd.api.answers import DeployAnswer
from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.engine import Engine
from deployd.bringup.load import Call
from deployd.bringup.repository import Repository, deliver
from deployd.client import Client
from tests.forked import ForkedDaemon
from tests.testbed import instance_network

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
[supersede]
finish_after = "10m"
[[app]]
name = "{app}"
repo = "file://{remote}"
webhook = "github.com/acme/iris"
branch = "main"
[app.docker]
drain = "5s"
stop_timeout = "2s"
[app.gateway]
listen = {public_port}
[app.ready]
path = "/"
within = "8s"
every = "50ms"
commit_path = "/"
"""

DOCKERFILE = """\
FROM python:3.11-slim-bookworm
COPY app.py /app.py
ARG COMMIT
ENV COMMIT=$COMMIT
CMD ["python3", "-u", "/app.py"]
"""

APP = """\
import asyncio, os, signal, sys, time

BEHAVIOUR = "well"
COMMIT = os.environ["COMMIT"].encode()
STATUS = b"503 Not Ready" if BEHAVIOUR == "never ready" else b"200 OK"
ANSWER = b"HTTP/1.1 %s\\r\\nContent-Type: text/plain\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (STATUS, len(COMMIT), COMMIT)
LEAKED, POSTED, STARTED = [], [], time.monotonic()


def answer(head):
    if b"POST /" in head:
        POSTED.append(time.monotonic())  # first by the golden gate, however late that comes, and then by the watch
    if BEHAVIOUR == "forgets" and b"POST /" in head and time.monotonic() > POSTED[0] + 3:
        return ANSWER.replace(COMMIT, b"{" + b" " * (len(COMMIT) - 2) + b"}")
    if (BEHAVIOUR == "leaks" and time.monotonic() > STARTED + 3) or (BEHAVIOUR == "leaks watched" and len(POSTED) > 2):
        LEAKED.append(b"x" * 50_000)
    if BEHAVIOUR.startswith("errs after") and time.monotonic() > STARTED + float(BEHAVIOUR.split()[2]):
        return ANSWER.replace(b"200 OK", b"500 No")
    return ANSWER


class Answers(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        self.rest += data
        while b"\\r\\n\\r\\n" in self.rest:
            head, _, self.rest = self.rest.partition(b"\\r\\n\\r\\n")
            self.transport.write(answer(head))
            if b"connection: close" in head.lower():
                self.transport.close()


async def main():
    if BEHAVIOUR == "crash":
        print("the model file is broken", file=sys.stderr)
        sys.exit(3)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answers, "0.0.0.0", 5000, backlog=1024)
    print("serving", COMMIT.decode())
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()
    await asyncio.sleep(0.2)


asyncio.run(main())
"""

WHO = Call("GET", "/")
REST = 0.04
"""Seconds between the requests of a client where a test needs load and no full load, which takes a core of its own."""


class World:
    """One repository, one daemon, one client of its API."""

    def __init__(self, repository: Repository, daemon: DemoDaemon, client: Client) -> None:
        self.repository = repository
        self.daemon = daemon
        self.client = client
        self._changes = 0
        self.delivered_at = datetime.now(UTC)  # when the last delivery was sent,
        self.answered_at = 0.0  # and answered, by time.monotonic()

    @property
    def app(self) -> str:
        """The app's name; no other world on the engine has it."""
        return self.daemon.app

    async def push(
        self, subject: str = "Change", *, behaviour: str = "well", dockerfile: str = DOCKERFILE
    ) -> DeployAnswer:
        """Commit an app with these traits, push it, send the webhook; return its deploy."""
        self.change(behaviour=behaviour, dockerfile=dockerfile)
        return await self.deliver(subject)

    def change(self, *, behaviour: str = "well", dockerfile: str = DOCKERFILE) -> None:
        """Write a new version of the app into the working copy."""
        self._changes += 1
        text = (
            APP.replace('BEHAVIOUR = "well"', f'BEHAVIOUR = "{behaviour}"')
            + f"# change {self._changes} of {self.app}\n"
        )
        self.repository.write("app.py", text)
        self.repository.write("Dockerfile", dockerfile)

    async def deliver(self, subject: str) -> DeployAnswer:
        """Commit the working copy, push it, send the webhook; return its deploy."""
        payload = await asyncio.to_thread(self.repository.push, subject)
        self.delivered_at = datetime.now(UTC)
        answer = await deliver(self.daemon.url, self.daemon.secret, payload)
        self.answered_at = time.monotonic()
        assert answer.status_code == 202, answer.text
        return await self.came_of(answer.json()["delivery"])

    async def came_of(self, guid: str) -> DeployAnswer:
        """Wait for the look of a delivery; return its deploy."""
        async with asyncio.timeout(60):
            delivery = await self.client.answered(guid)
        (outcome,) = delivery.apps
        assert outcome.deploy is not None, outcome
        return await self.client.show(outcome.app, outcome.deploy)

    async def ended(self, deploy: DeployAnswer, within: float = 120) -> DeployAnswer:
        """Wait until the deploy is live or has ended; return it."""
        async with asyncio.timeout(within):
            async for now in self.client.follow(deploy.app, deploy.number):
                deploy = now
        return await self.client.show(deploy.app, deploy.number)

    async def log(self, deploy: DeployAnswer) -> str:
        """The text of the deploy's log."""
        return b"".join([block async for block in self.client.log(deploy.app, deploy.number)]).decode()

    async def says(self, deploy: DeployAnswer, text: str, within: float = 60) -> None:
        """Wait until the deploy's log contains `text`. A stream of it ends where nobody writes, as before the clean-up."""
        found = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                async for _ in self.client.events(deploy.app):
                    found = b""
                    async for block in self.client.log(deploy.app, deploy.number, follow=True):
                        found += block
                        if text.encode() in found:
                            return
        raise AssertionError(f"the log of {deploy.app}/{deploy.number} never said {text!r}:\n{found.decode()}")


@asynccontextmanager
async def world(
    directory: Path, config: str = CONFIG, environment: Mapping[str, str] | None = None, engine: Engine | None = None
) -> AsyncIterator[World]:
    """A running world; the caller removes what carries `daemon.instance` from the engine. `engine`: its network is made there."""
    repository = Repository(directory)
    repository.create()
    daemon = ForkedDaemon.prepare(directory, repository.remote, config, app=f"iris-{secrets.token_hex(3)}")
    daemon.environment = dict(environment or {})
    if engine is not None:
        await asyncio.to_thread(instance_network.make, engine.api(), daemon.instance)
    async with daemon.running(), Client(daemon.api) as client:
        yield World(repository, daemon, client)


@asynccontextmanager
async def passing_world(directory: Path, engine: Engine, config: str = CONFIG) -> AsyncIterator[World]:
    """A running world; at the end its daemon's log is printed, and what it made is removed."""
    made: World | None = None
    try:
        async with world(directory, config, engine=engine) as made:
            yield made
    finally:
        if made is not None:
            print(made.daemon.log.read_text())
            made.daemon.remove_everything(engine.api())

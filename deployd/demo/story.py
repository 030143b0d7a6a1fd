"""The demo: pushes to a repository, and what deployd makes of them, shown as it happens on a real engine.

Each chapter ends in checks, and the demo succeeds only when all of them pass. Everything that it creates carries a unique
instance name and is removed at the end, however it ends.
"""

import asyncio
import json
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployd.api.answers import DeployAnswer, StepAnswer
from deployd.bringup import engine, images
from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.load import Call, Load
from deployd.bringup.progress import Progress
from deployd.bringup.repository import Repository, deliver
from deployd.client import Client
from deployd.errors import DeploydError, Unavailable
from deployd.status import Status
from deployd.tasks import cancel_once

_FLOWER = b'{"instances": [[5.8, 4.0, 1.2, 0.2]]}'
_TREE = "DecisionTreeClassifier(random_state=seed"
_LAST_LINES = "ARG COMMIT="
_BREAK = 'RUN echo "this commit does not build" && exit 3\n'
_SLOW = "RUN sleep 60\n"
# Podman tells of a step when it runs, a Docker Engine before.
_RUNS_LONG = re.compile(rb"STEP \d+/\d+: RUN sleep 60|RUN sleep 60.*Running in", re.DOTALL)
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPTED = 130


def run(*, once: bool) -> int:
    """Run the demo and return the exit code. Without `once`, leave everything running until Ctrl-C."""
    for number in _ENDINGS:
        signal.signal(number, signal.default_int_handler)
    console = Console(highlight=False)
    console.print("[bold]deployd: from git push to a live, proven model service[/bold]")
    host = engine.ensure(Progress(console))
    console.print(f"{host.product} {host.version} at {host.url}")
    images.ensure(host, Progress(console))
    with tempfile.TemporaryDirectory(prefix="deployd-demo-") as name:
        directory = Path(name)
        repository = Repository(directory)
        daemon = DemoDaemon.prepare(directory, repository.remote)
        if host.url.startswith("unix://"):
            daemon.environment["DOCKER_HOST"] = host.url
        try:
            return asyncio.run(_tell(console, repository, daemon, once=once))
        except asyncio.CancelledError:
            console.print("Interrupted")
            return _INTERRUPTED
        finally:
            for number in _ENDINGS:
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the clean-up
            removed = daemon.remove_everything(host.api(timeout=300))
            console.print(f"Removed what the demo made: {', '.join(removed) or 'nothing was left'}", soft_wrap=True)


async def _tell(console: Console, repository: Repository, daemon: DemoDaemon, *, once: bool) -> int:
    repository.create()
    repository.add_model_service()
    with _interruptible():
        async with daemon.running(), Client(daemon.api) as client:
            story = Story(console, repository, daemon, client)
            try:
                await story.tell()
            except (DeploydError, httpx.HTTPError, TimeoutError) as exc:
                story.check(f"the demo ended early: {type(exc).__name__}: {exc}", holds=False)
            await story.sum_up()
            if not once:
                await story.wait()
            return 0 if story.succeeded else 1


class Story:
    """Five pushes and what comes of each."""

    def __init__(self, console: Console, repository: Repository, daemon: DemoDaemon, client: Client) -> None:
        self._console = console
        self._repository = repository
        self._daemon = daemon
        self._client = client
        self._checks: list[tuple[str, bool]] = []
        self._deploys: list[DeployAnswer] = []

    @property
    def succeeded(self) -> bool:
        """Whether every check passed."""
        return bool(self._checks) and all(holds for _, holds in self._checks)

    async def tell(self) -> None:
        """Run all chapters in order."""
        await self._first_push()
        await self._change_under_load()
        await self._broken_commit()
        await self._superseded()

    def check(self, text: str, *, holds: bool) -> None:
        """Record and show whether a promise holds."""
        self._checks.append((text, holds))
        self._say(f"[green]✓[/green] {escape(text)}" if holds else f"[red]✗ {escape(text)}[/red]")

    async def sum_up(self) -> None:
        """Show how long each step took, and how many promises held."""
        deploys = [await self._client.show(deploy.app, deploy.number) for deploy in self._deploys]
        table = Table(title="How long each step took, in seconds", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        names = list(dict.fromkeys(step.name for deploy in deploys for step in deploy.steps))
        for head in ("deploy", "status", *names):
            table.add_column(head, justify="right" if head in names else "left", no_wrap=True)
        for deploy in sorted(deploys, key=lambda deploy: deploy.number):
            took = {step.name: _seconds(step) for step in deploy.steps}
            table.add_row(str(deploy.number), deploy.status, *(took.get(name, "") for name in names))
        self._console.print(table)
        good = sum(holds for _, holds in self._checks)
        style = "green" if self.succeeded else "red"
        self._console.print(f"[bold {style}]{good} of {len(self._checks)} promises held[/bold {style}]")

    async def wait(self) -> None:
        """Leave everything running until Ctrl-C."""
        ended = asyncio.Event()
        for number in _ENDINGS:
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        self._console.print(
            f"\nThe model is at [bold]{self._daemon.public_url}[/bold]; Ctrl-C ends the demo.\n"
            f"  DEPLOYD_URL={self._daemon.api} .venv/bin/deployd status"
        )
        await ended.wait()

    async def _first_push(self) -> None:
        self._chapter("A repository with the model service; the first push")
        deploy = await self._push("Serve the iris model")
        deploy = await self._follow(deploy, show=True)
        self.check(f"{deploy.app}/{deploy.number} is live", holds=deploy.status is Status.LIVE)
        async with httpx.AsyncClient(base_url=self._daemon.public_url, trust_env=False) as http:
            answer = (await http.post("/predict", content=_FLOWER, headers={"Content-Type": "application/json"})).json()
            served = (await http.get("/version")).json()["commit"]
        label = answer["predictions"][0]["label"]
        self.check(f"{self._daemon.public_url}/predict: {_FLOWER.decode()} is a {label}", holds=label == "setosa")
        self.check(f"the service reports commit {served[:12]}", holds=served == deploy.commit)

    async def _change_under_load(self) -> None:
        self._chapter("A second push changes the model, while clients ask for predictions without pause")
        before = self._repository.head
        self._repository.edit("model_service/iris.py", _TREE, f"{_TREE}, max_depth=3")
        predictions, versions = Load(self._daemon.public_url), Load(self._daemon.public_url)
        model = Call("POST", "/predict", _FLOWER, lambda body: str(json.loads(body)["model"]["version"]))
        commit = Call("GET", "/version", identify=lambda body: str(json.loads(body)["commit"]))
        async with predictions.running(model), versions.running(commit, kept=1, fresh=1):
            deploy = await self._follow(await self._push("Cut the tree at three levels"))
            await asyncio.sleep(1)  # some more answers of the new release
        sent, failures = predictions.sent + versions.sent, predictions.failures + versions.failures
        self.check(f"{deploy.app}/{deploy.number} is live", holds=deploy.status is Status.LIVE)
        self.check(
            f"{sent:,} requests were sent, {len(failures)} failed" + "".join(f"; {text}" for text in failures[:3]),
            holds=sent > 0 and not failures,
        )
        self.check(
            f"{before[:12]} answered before the switch, {deploy.commit[:12]} after it, for every client",
            holds=all(client.turns == [before, deploy.commit] for client in versions.clients)
            and not any(client.went_back for client in predictions.clients),
        )

    async def _broken_commit(self) -> None:
        self._chapter("A third push does not build")
        serving = self._repository.head
        self._repository.edit("Dockerfile", _LAST_LINES, _BREAK + _LAST_LINES)
        deploy = await self._follow(await self._push("Break the build"))
        self.check(f"{deploy.app}/{deploy.number} failed: {deploy.reason}", holds=deploy.status is Status.FAILED)
        self.check(f"{serving[:12]} still serves", holds=await self._served_commit() == serving)

    async def _superseded(self) -> None:
        self._chapter("A fourth push builds slowly; a fifth follows at once")
        self._repository.edit("Dockerfile", _BREAK, _SLOW)
        slow = await self._push("Fix the build, slowly")
        await self._building(slow)
        self._repository.edit("Dockerfile", _SLOW, "")
        began = time.monotonic()
        fast = await self._push("Fix the build")
        old = await self._follow(slow)
        stopped = time.monotonic() - began
        new = await self._follow(fast)
        self.check(
            f"{old.app}/{old.number} was superseded by {new.app}/{new.number} after {stopped:.2f} s",
            holds=old.status is Status.SUPERSEDED and old.superseded_by == new.number,
        )
        self.check(f"{new.app}/{new.number} is live", holds=new.status is Status.LIVE)
        self.check(f"{new.commit[:12]} serves", holds=await self._served_commit() == new.commit)

    def _say(self, text: str) -> None:
        self._console.print(f"  {text}", soft_wrap=True)

    def _chapter(self, title: str) -> None:
        self._console.print(f"\n[bold]{title}[/bold]")

    async def _push(self, subject: str) -> DeployAnswer:
        payload = await asyncio.to_thread(self._repository.push, subject)
        began = time.monotonic()
        answer = await deliver(self._daemon.url, self._daemon.secret, payload)
        took = (time.monotonic() - began) * 1000
        self._say(
            f"git push {payload['after'][:12]} “{subject}”; a signed webhook: {answer.status_code} in {took:.0f} ms"
        )
        delivery = await self._client.answered(answer.raise_for_status().json()["delivery"])
        (outcome,) = delivery.apps
        if outcome.deploy is None:
            raise Unavailable(f"the push started no deploy: {outcome.reason}", hint="see `deployd delivery`")
        return await self._client.show(outcome.app, outcome.deploy)

    async def _follow(self, deploy: DeployAnswer, *, show: bool = False) -> DeployAnswer:
        """Wait for the deploy to end; show its log or its statuses. Its steps are shown at the end of the demo."""
        if show:
            await self._show_log(deploy)
        seen = deploy.status
        async for now in self._client.follow(deploy.app, deploy.number):
            deploy = now
            if not show and now.status is not seen:
                self._say(f"{now.name} {now.status.predicate}")
                seen = now.status
        self._deploys.append(deploy)
        return deploy

    async def _show_log(self, deploy: DeployAnswer) -> None:
        rest = b""
        async for block in self._client.log(deploy.app, deploy.number, follow=True):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self._say(f"[dim]│ {escape(line.decode(errors='replace'))}[/dim]")

    async def _building(self, deploy: DeployAnswer) -> None:
        """Wait until the build runs its long step."""
        text = b""
        async for block in self._client.log(deploy.app, deploy.number, follow=True):
            text += block
            if _RUNS_LONG.search(text):
                return

    async def _served_commit(self) -> str:
        async with httpx.AsyncClient(base_url=self._daemon.public_url, trust_env=False) as http:
            return str((await http.get("/version")).json()["commit"])


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP cancel the demo, once, so that the daemon is stopped and everything is removed."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def end() -> None:
        if task is not None:
            cancel_once(task)

    for number in _ENDINGS:
        loop.add_signal_handler(number, end)
    try:
        yield
    finally:
        for number in _ENDINGS:
            loop.remove_signal_handler(number)


def _seconds(step: StepAnswer) -> str:
    return f"{(step.finished_at - step.started_at).total_seconds():.2f}" if step.finished_at is not None else "…"

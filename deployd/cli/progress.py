"""Show a deploy as it happens: a progress bar on a terminal, plain lines elsewhere; then how it ended, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from deployd.api.answers import DeployAnswer, StepAnswer
from deployd.cli.output import err, took
from deployd.client import Client
from deployd.logs.log import printable
from deployd.status import Status

_USUAL_STEPS = 6
_LAST_LINES = 15
_AFTER_LIVE = frozenset({"watch", "drain", "prune"})


class _View(Protocol):
    def show(self, deploy: DeployAnswer) -> None: ...


async def wait(client: Client, deploy: DeployAnswer) -> DeployAnswer:
    """Show `deploy` until it has ended, across restarts of the daemon. Returns the deploy as it is then."""
    err().print(f"{deploy.name} {deploy.commit[:12]} {printable(deploy.subject)}".rstrip())
    told = ""
    with _view(await _expected_steps(client, deploy.app)) as view:
        async for deploy in client.follow(deploy.app, deploy.number):  # noqa: B020, PLR1704 - the same deploy, later
            view.show(deploy)
            if (why := await why_it_waits(client, deploy)) and why != told:
                err().print(why, style="yellow", soft_wrap=True)
            told = why
    await _tell_end(client, deploy)
    return deploy


async def why_it_waits(client: Client, deploy: DeployAnswer) -> str:
    """Why a deploy that is queued does not begin, and what a person can do; empty when it will begin by itself."""
    if deploy.status is not Status.QUEUED or not (await client.app(deploy.app)).paused:
        return ""
    return f"{deploy.app} is paused: {deploy.name} waits until `deployd resume {deploy.app}`"


async def _expected_steps(client: Client, app: str) -> int:
    """The number of steps that the live release took."""
    live = (await client.app(app)).live
    if live is None:
        return _USUAL_STEPS
    return len(_steps(await client.show(app, live.number))) or _USUAL_STEPS


def _steps(deploy: DeployAnswer) -> list[StepAnswer]:
    return [step for step in deploy.steps if step.name not in _AFTER_LIVE]


@contextmanager
def _view(expected: int) -> Iterator[_View]:
    console = err()
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, expected)


class _Lines:
    """Prints a line for each step that ended, each change of status and each report of progress."""

    def __init__(self) -> None:
        self._told: set[tuple[str, object]] = set()
        self._status: Status | None = None
        self._detail = ""

    def show(self, deploy: DeployAnswer) -> None:
        for step in new_steps(deploy, self._told):
            err().print(_line(step))
        if (detail := _detail(deploy)) not in {"", self._detail}:
            err().print(f"    {detail}")
            self._detail = detail
        if deploy.status is not self._status and not deploy.status.ended:
            self._status = deploy.status
            waits = f" ({printable(deploy.reason)})" if deploy.reason else ""
            err().print(f"{deploy.name} {deploy.status.predicate}{waits}")


class _Bar:
    """Draws a bar below the steps that ended."""

    def __init__(self, progress: Progress, expected: int) -> None:
        self._progress = progress
        self._expected = expected
        self._told: set[tuple[str, object]] = set()
        self._task: TaskID = progress.add_task("queued", total=expected)

    def show(self, deploy: DeployAnswer) -> None:
        for step in new_steps(deploy, self._told):
            self._progress.console.print(Text(_line(step), "green" if step.status == "done" else "red"))
        running = [step.name for step in _steps(deploy) if step.status == "running"]
        now = _detail(deploy) or (running[-1] if running else deploy.status.value.replace("_", " "))
        waits = f" ({printable(deploy.reason, 80)})" if deploy.reason and not deploy.status.ended else ""
        done = sum(step.status != "running" for step in _steps(deploy))
        self._progress.update(
            self._task, description=f"{now}{waits}", completed=done, total=max(self._expected, done + len(running))
        )


def new_steps(deploy: DeployAnswer, told: set[tuple[str, object]]) -> list[StepAnswer]:
    """The steps that have ended and are not in `told` yet; adds them to it."""
    found = [step for step in _steps(deploy) if step.status != "running" and (step.name, step.started_at) not in told]
    told.update((step.name, step.started_at) for step in found)
    return found


def _detail(deploy: DeployAnswer) -> str:
    """The progress that the running step reports, if it does."""
    said = [
        f"{step.name}: {printable(step.detail, 100)}"
        for step in _steps(deploy)
        if step.status == "running" and step.detail
    ]
    return said[-1] if said else ""


def _line(step: StepAnswer) -> str:
    mark = {"done": "✓", "failed": "✗", "cancelled": "-", "running": " "}[step.status]
    length = (step.finished_at - step.started_at).total_seconds() if step.finished_at else 0.0
    return f"  {mark} {step.name:<12} {took(length)}"


async def _tell_end(client: Client, deploy: DeployAnswer) -> None:
    console = err()
    if deploy.status is Status.PROVEN:
        since = (deploy.finished_at - deploy.created_at).total_seconds() if deploy.finished_at else 0.0
        console.print(f"{deploy.name} is proven after {took(since)}; it was not switched to", style="green")
        return
    if deploy.status in {Status.LIVE, Status.RETIRED}:
        await _tell_live(client, deploy)
        return
    console.print(f"{deploy.name} {deploy.status.predicate}: {printable(deploy.reason)}", style="red", soft_wrap=True)
    lines: list[str] = []
    if deploy.status is Status.FAILED:
        text = b"".join([block async for block in client.log(deploy.app, deploy.number)]).decode("utf-8", "replace")
        lines = text.splitlines()[-_LAST_LINES:]
    if deploy.hint and not _repeats(deploy.hint, lines):
        console.print(f"hint: {printable(deploy.hint, 2000)}", soft_wrap=True)
    if lines:
        console.print(f"the last lines of its log (deployd logs {deploy.name} prints all of it):", style="bold")
    for line in lines:
        console.print(f"  {printable(line)}", soft_wrap=True)


async def _tell_live(client: Client, deploy: DeployAnswer) -> None:
    console = err()
    since = (deploy.live_at - deploy.created_at).total_seconds() if deploy.live_at else 0.0
    console.print(f"{deploy.name} is live after {took(since)}", style="green")
    for url in (await client.app(deploy.app)).urls:
        console.print(f"  {url}")
    if deploy.standby is not None:
        stands_by = f"{deploy.app}/{deploy.standby} stands by"
        console.print(f"  it is watched, and {stands_by}: deployd status {deploy.app}", soft_wrap=True)


def _repeats(hint: str, lines: list[str]) -> bool:
    """Whether the hint is the end of the log."""
    return all(any(said.strip() in line for line in lines) for said in hint.splitlines())

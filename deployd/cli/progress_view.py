"""Shows a running deploy: on a terminal a bar of its steps above the end of its log, elsewhere a line for each change."""

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from deployd.api.answers import DeployAnswer, StepAnswer
from deployd.cli.output import err
from deployd.cli.times import took
from deployd.cli.usual import estimate, steps_of
from deployd.logs.log import printable
from deployd.status import Status

_LOG_LINES = 6
_BAR_WIDTH = 24
_MARKS = ("==> ", "<== ")  # the steps, which are shown above


class View(Protocol):
    """Shows one deploy."""

    wants_log: bool

    def show(self, deploy: DeployAnswer) -> None:
        """Show what is new of it."""

    def log(self, line: str) -> None:
        """Show a line of its log."""


@contextmanager
def view_of(usual: Mapping[str, float]) -> Iterator[View]:
    """The view that suits standard error; `usual`: how many seconds each step usually takes."""
    console = err()
    if not console.is_interactive or console.is_dumb_terminal:
        yield _Lines()
        return
    bar = _Bar(usual)
    with Live(bar, console=console, refresh_per_second=8, transient=True):
        yield bar


class Nothing:
    """Shows nothing."""

    wants_log = False

    def show(self, deploy: DeployAnswer) -> None:
        pass

    def log(self, line: str) -> None:
        pass


class _Lines:
    """Prints a line for each step that ended, each change of status and each report of progress."""

    wants_log = False

    def __init__(self) -> None:
        self._told: set[tuple[str, object]] = set()
        self._status: Status | None = None
        self._detail = ""

    def show(self, deploy: DeployAnswer) -> None:
        for step in _ended(deploy, self._told):
            err().print(_line(step))
        if (detail := _detail(deploy)) not in {"", self._detail}:
            err().print(f"    {detail}")
            self._detail = detail
        if deploy.status is not self._status and not deploy.status.ended:
            self._status = deploy.status
            waits = f" ({printable(deploy.reason)})" if deploy.reason else ""
            err().print(f"{deploy.name} {deploy.status.predicate}{waits}", soft_wrap=True)

    def log(self, line: str) -> None:
        pass


class _Bar:
    """The steps that ended, a bar by the usual durations of those to come, then the last lines of the log."""

    wants_log = True

    def __init__(self, usual: Mapping[str, float]) -> None:
        self._usual = usual
        self._told: set[tuple[str, object]] = set()
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._deploy: DeployAnswer | None = None
        self._running: tuple[str, object] | None = None  # the step under way, and since when by this machine's clock
        self._since = time.monotonic()
        self._done = 0.0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(_BAR_WIDTH, complete_style="cyan", finished_style="green", pulse_style="cyan"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            console=err(),
        )
        self._task: TaskID = self._progress.add_task("queued", total=None, left="")

    def show(self, deploy: DeployAnswer) -> None:
        for step in _ended(deploy, self._told):
            err().print(Text(_line(step), "green" if step.status == "done" else "red"))
        running = [(step.name, step.started_at) for step in steps_of(deploy) if step.status == "running"]
        if (now := running[-1] if running else None) != self._running:
            self._running, self._since = now, time.monotonic()
        self._deploy = deploy

    def log(self, line: str) -> None:
        if line.strip() and not line.startswith(_MARKS):
            self._log.append(line)

    def __rich__(self) -> Group:
        below = [Text(f"    {printable(line)}", "dim", no_wrap=True, overflow="ellipsis") for line in [*self._log]]
        if self._deploy is not None:
            self._measure(self._deploy)
            if self._deploy.reason and not self._deploy.status.ended:
                below.append(Text(f"    {printable(self._deploy.reason)}", "yellow"))
        return Group(self._progress, *below)

    def _measure(self, deploy: DeployAnswer) -> None:
        """Bring the bar up to the present moment."""
        name = self._running[0] if self._running is not None else deploy.status.value.replace("_", " ")
        for_seconds = time.monotonic() - self._since if self._running is not None else 0.0
        found = estimate(steps_of(deploy), self._usual, for_seconds) if deploy.status is not Status.QUEUED else None
        left = ""
        if found is not None:
            self._done = max(self._done, found.done)
            self._progress.update(self._task, total=1.0, completed=self._done)
            left = "longer than usual" if found.left is None else f"about {_whole(found.left)} left"
        self._progress.update(self._task, description=_detail(deploy) or name, left=left)


def _ended(deploy: DeployAnswer, told: set[tuple[str, object]]) -> list[StepAnswer]:
    """The steps that have ended and are not in `told` yet; adds them to it."""
    found = [step for step in steps_of(deploy) if step.status != "running"]
    new = [step for step in found if (step.name, step.started_at) not in told]
    told.update((step.name, step.started_at) for step in new)
    return new


def _detail(deploy: DeployAnswer) -> str:
    """The progress that the running step reports, if it does."""
    running = [step for step in steps_of(deploy) if step.status == "running" and step.detail]
    return f"{running[-1].name}: {printable(running[-1].detail, 100)}" if running else ""


def _whole(seconds: float) -> str:
    return f"{math.ceil(seconds)}s" if seconds < 10 else took(seconds)


def _line(step: StepAnswer) -> str:
    mark = {"done": "✓", "failed": "✗", "cancelled": "-", "running": " "}[step.status]
    length = (step.finished_at - step.started_at).total_seconds() if step.finished_at else 0.0
    return f"  {mark} {step.name:<12} {took(length)}"

"""Shared parts of the commands: the client for the daemon, and output for people and scripts."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated, Literal, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from deployd.cli import completion
from deployd.cli.daemon import PATIENCE_SECONDS, daemon
from deployd.client import Client
from deployd.errors import Unavailable
from deployd.status import Status

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Output = Annotated[
    Literal["wide", "json"] | None, typer.Option("--output", "-o", help="More columns, uncut; or JSON, as with --json.")
]


def only_app(value: str | None) -> str | None:
    """The name of an app where a deploy makes no sense."""
    if value is not None and "/" in value:
        raise typer.BadParameter(
            f"{value} names a deploy; this command takes an app, such as {value.partition('/')[0]}"
        )
    return value


AppName = Annotated[
    str,
    typer.Argument(metavar="APP", help="The name of an app.", callback=only_app, autocompletion=completion.apps),
]
AppOrDeploy = Annotated[
    str,
    typer.Argument(
        metavar="APP[/N]",
        help="An app, or one of its deploys, such as iris/42.",
        autocompletion=completion.deploys,
    ),
]

COLOURS = {
    Status.QUEUED: "yellow",
    Status.BUILDING: "blue",
    Status.CHECKING: "blue",
    Status.ROLLING_OUT: "blue",
    Status.LIVE: "green",
    Status.RETIRED: "dim",
    Status.SUPERSEDED: "dim",
    Status.CANCELLED: "dim",
    Status.PROVEN: "green",
    Status.FAILED: "red",
    Status.REVERTED: "red",
}
_WIDE = 220


def with_daemon(
    work: Callable[[Client], Awaitable[T]],
    *,
    away: Callable[[Unavailable], object] | None = None,
    patience: float = PATIENCE_SECONDS,
) -> T:
    """Run `work` with a client for the daemon that the environment names, by default the one of this machine."""

    async def ask() -> T:
        async with daemon(away or print_away, patience) as client:
            return await work(client)

    return asyncio.run(ask())


def print_away(exc: Unavailable) -> None:
    """Say that the daemon is away, and that it is waited for."""
    err().print(f"{exc.message}; waiting for it", style="yellow", soft_wrap=True)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """End the command as any other broken pipe does."""
        raise BrokenPipeError


@cache
def console(*, stderr: bool) -> Console:
    """The console of a stream, made when it is first used."""
    terminal = (sys.stderr if stderr else sys.stdout).isatty()  # FORCE_COLOR asks for colours, and for nothing else
    return _Console(
        stderr=stderr,
        markup=False,
        highlight=False,
        emoji=False,
        width=None if terminal else _WIDE,
        soft_wrap=False,
        force_interactive=terminal,
    )


def out() -> Console:
    """Standard output, for what was asked for; in colours only on a terminal."""
    return console(stderr=False)


def err() -> Console:
    """Standard error, for everything else."""
    return console(stderr=True)


def print_json(answer: BaseModel) -> None:
    """Print an answer as the API gave it. A list is an object that names it: `{"apps": [...]}`."""
    print(answer.model_dump_json(indent=2))


def status_text(status: Status) -> Text:
    """A status in its colour."""
    return Text(status.value.replace("_", " "), COLOURS[status])

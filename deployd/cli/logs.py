"""The commands that print logs: logs (of a deploy), applog (of the running release)."""

import codecs
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from deployd.cli.deploys import named
from deployd.cli.output import COLOURS, AppName, err, out, with_daemon
from deployd.client import Client
from deployd.errors import RequestRefused
from deployd.logs.log import printable

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print what comes, until the end.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd logs iris/42 -f")(logs)
    app.command(epilog="Example: deployd applog iris -f --tail 100")(applog)


def logs(
    name: Annotated[str, typer.Argument(metavar="APP[/N]", help="A deploy, or an app for its newest deploy.")],
    follow: Follow = False,
) -> None:
    """Print the log of a deploy."""

    async def ask(client: Client) -> None:
        app, number = named(name) if "/" in name else (name, await _newest(client, name))
        await _print(client.log(app, number, follow=follow))
        if follow:
            deploy = await client.show(app, number)
            reason = f": {printable(deploy.reason)}" if deploy.reason else ""
            err().print(
                f"{deploy.name} {deploy.status.predicate}{reason}", style=COLOURS[deploy.status], soft_wrap=True
            )

    with_daemon(ask)


def applog(
    app: AppName,
    follow: Follow = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", metavar="N", min=0, help="Only the last N lines.")] = None,
) -> None:
    """Print the output of the running release."""
    with_daemon(lambda client: _print(client.app_log(app, follow=follow, tail=tail)))


async def _newest(client: Client, app: str) -> int:
    if not (found := (await client.history(app, 1)).deploys):
        raise RequestRefused(404, f"{app} has no deploys", hint=f"deployd deploy {app}")
    return found[0].number


async def _print(blocks: AsyncIterator[bytes]) -> None:
    """Print text as it comes; on a terminal by whole lines, so that the steps can have a colour."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    line = ""
    async for block in blocks:
        text = decoder.decode(block)
        if not out().is_terminal:
            sys.stdout.write(text)
            sys.stdout.flush()
            continue
        *lines, line = (line + text).split("\n")
        for one in lines:
            _say(one)
    if line:
        _say(line)


def _say(line: str) -> None:
    style = "bold cyan" if line.startswith("==> ") else "dim" if line.startswith("<== ") else None
    out().print(printable(line, 4000), style=style, soft_wrap=True)

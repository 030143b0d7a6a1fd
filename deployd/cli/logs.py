"""The commands that print logs: logs (of a deploy), applog (of what the live release prints)."""

import codecs
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from deployd.cli import names
from deployd.cli.output import COLOURS, AppName, err, out, with_daemon
from deployd.client import Client
from deployd.config.values import seconds
from deployd.logs.log import printable
from deployd.releases import output_of_releases

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print what comes, until the end.")]
AsLines = Annotated[bool, typer.Option("--json", help="Print each line as a JSON object, for scripts.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd logs iris/42 -f")(logs)
    app.command(epilog="Example: deployd applog iris -f --since 10m")(applog)


def logs(
    name: Annotated[str, typer.Argument(metavar="APP[/N]", help="A deploy, or an app for its newest deploy.")],
    follow: Follow = False,
    as_json: AsLines = False,
) -> None:
    """Print the log of a deploy."""

    async def ask(client: Client) -> None:
        app, number = await names.newest(client, name)
        await _print(client.log(app, number, follow=follow), f"{app}/{number}", as_json=as_json)
        if follow:
            deploy = await client.show(app, number)
            reason = f": {printable(deploy.reason)}" if deploy.reason else ""
            err().print(
                f"{deploy.name} {deploy.status.predicate}{reason}", style=COLOURS[deploy.status], soft_wrap=True
            )

    with_daemon(ask)


def applog(
    app: AppName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print what comes, of the next releases too, until Ctrl-C.")
    ] = False,
    tail: Annotated[int | None, typer.Option("--tail", "-n", metavar="N", min=0, help="Only the last N lines.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only lines that are younger, such as 10m, or since a time.")
    ] = None,
    as_json: AsLines = False,
) -> None:
    """Print the output of the running release."""
    begin = _moment(since) if since is not None else None

    async def ask(client: Client) -> None:
        now = client.app_log(app, tail=tail, since=begin)
        blocks = output_of_releases(client, app, tail, begin, _tell) if follow else now
        await _print(blocks, app, as_json=as_json)

    with_daemon(ask)


def _tell(words: str) -> None:
    err().print(words, style="yellow", soft_wrap=True)


def _moment(text: str) -> datetime:
    """`10m` ago, or a time as ISO 8601 has it, without a zone that of this machine."""
    try:
        return datetime.now(UTC) - timedelta(seconds=seconds(text))
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as exc:
        raise typer.BadParameter(f"{text} is neither an age, such as 90s, 10m or 1h30m, nor a time") from exc


async def _print(blocks: AsyncGenerator[bytes], name: str, *, as_json: bool) -> None:
    """Print text as it comes; on a terminal, and as JSON, by whole lines. Closes `blocks`, also when nobody reads any more."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    line = ""
    async with aclosing(blocks):
        async for block in blocks:
            text = decoder.decode(block)
            if not as_json and not out().is_terminal:
                sys.stdout.write(text)
                sys.stdout.flush()
                continue
            *lines, line = (line + text).split("\n")
            for one in lines:
                _say(one, name, as_json=as_json)
    if line:
        _say(line, name, as_json=as_json)


def _say(line: str, name: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"name": name, "line": line}, ensure_ascii=False), flush=True)
        return
    style = "bold cyan" if line.startswith("==> ") else "dim" if line.startswith("<== ") else None
    out().print(printable(line, 4000), style=style, soft_wrap=True)

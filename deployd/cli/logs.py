"""The commands that print logs: logs (of a deploy), applog (the output of the live release)."""

import asyncio
import codecs
import json
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.text import Text

from deployd.cli import names
from deployd.cli.output import COLOURS, AppName, AppOrDeploy, err, out, with_daemon
from deployd.client import Client
from deployd.config.values import seconds
from deployd.logs.log import printable
from deployd.logs.redaction import Redactor, SafeStream
from deployd.logs.sgr import SEQUENCE, plain
from deployd.releases import output_of_releases

_LONGEST = 4000
_MISSES = 20  # so many lines that only look like steps are looked up
_AGAIN_SECONDS = 0.05

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Print new lines as they come, until the deploy ends.")]
AsLines = Annotated[bool, typer.Option("--json", help="Print each line as a JSON object, for scripts.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd logs iris/42 -f")(logs)
    app.command(epilog="Example: deployd applog iris -f --since 10m")(applog)


def logs(
    name: AppOrDeploy,
    follow: Follow = False,
    as_json: AsLines = False,
) -> None:
    """Print the log of a deploy; of an app, that of its newest."""

    async def ask(client: Client) -> None:
        app, number = await names.newest(client, name)
        if out().is_terminal and not as_json:
            await _show(client, app, number, follow=follow)
        else:
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
        bool,
        typer.Option("--follow", "-f", help="Print new lines as they come, those of later releases too, until Ctrl-C."),
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
    safe = SafeStream(Redactor())  # of what a release prints, a terminal gets the colours and nothing else
    line = ""
    async with aclosing(blocks):
        async for block in blocks:
            text = decoder.decode(block)
            if not as_json and not out().is_terminal:
                sys.stdout.write(text)
                sys.stdout.flush()
                continue
            *lines, line = (line + (text if as_json else safe.feed(text))).split("\n")
            for one in lines:
                _say(one, name, as_json=as_json)
    if line := line + safe.end():
        _say(line, name, as_json=as_json)


def _say(line: str, name: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"name": name, "line": line}, ensure_ascii=False), flush=True)
    else:
        out().print(_coloured(line), soft_wrap=True)


def _coloured(line: str) -> Text:
    """A line in its colours; one that is too long for a terminal is cut, and loses them."""
    if len(bare := plain(line)) > _LONGEST:
        return Text(printable(bare, _LONGEST))
    text, *more = SEQUENCE.split(line)
    rest = zip(more[::2], more[1::2], strict=True)
    return Text.from_ansi(
        "".join([printable(text, _LONGEST), *(f"\x1b[{how}m{printable(of, _LONGEST)}" for how, of in rest)])
    )


async def _show(client: Client, app: str, number: int, *, follow: bool) -> None:
    """Print a log on a terminal, in its colours; the lines at which steps begin and end stand out."""
    steps, position, rest = _Steps(client, app, number), 0, b""
    async with aclosing(client.log(app, number, follow=follow, colours=True)) as blocks:
        async for block in blocks:
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                style = await steps.style(line, position)
                text = line.decode("utf-8", "replace")
                out().print(Text(printable(text), style=style) if style else _coloured(text), soft_wrap=True)
                position += len(line) + 1
    if rest:
        out().print(_coloured(rest.decode("utf-8", "replace")), soft_wrap=True)


class _Steps:
    """Where the steps of a deploy begin and end in its log, as the daemon recorded it: a build can print such lines too."""

    def __init__(self, client: Client, app: str, number: int) -> None:
        self._client = client
        self._deploy = (app, number)
        self._starts: set[int] = set()
        self._ends: set[int] = set()
        self._misses = 0
        self._ended = False

    async def style(self, line: bytes, position: int) -> str | None:
        """The style of a line at that byte, if it is the first or the last of a step."""
        if line.startswith(b"==> ") and await self._is(position, self._starts):
            return "bold cyan"
        if line.startswith(b"<== ") and await self._is(position + len(line) + 1, self._ends):
            return "dim"
        return None

    async def _is(self, byte: int, places: set[int]) -> bool:
        """Whether a recorded step begins or ends at that byte. Asks again, since a step is recorded a moment after its line was
        written."""
        for _ in range(3):
            if byte in places or self._ended or self._misses >= _MISSES:
                break
            deploy = await self._client.show(*self._deploy)
            self._ended = deploy.status.ended
            self._starts |= {step.log_start for step in deploy.steps if step.log_start is not None}
            self._ends |= {step.log_end for step in deploy.steps if step.log_end is not None}
            if byte not in places and not self._ended:
                await asyncio.sleep(_AGAIN_SECONDS)
        self._misses += byte not in places
        return byte in places

"""Wait for a deploy: show it as it happens, then how it ended, and why."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress

from deployd.api.answers import DeployAnswer
from deployd.cli.daemon import daemon
from deployd.cli.lines import lines_of
from deployd.cli.output import err
from deployd.cli.progress_view import Nothing, View, view_of
from deployd.cli.times import took
from deployd.cli.usual import same_kind, usual_seconds
from deployd.client import Client
from deployd.errors import DeploydError
from deployd.logs.log import printable
from deployd.logs.sgr import plain
from deployd.status import Status
from deployd.tasks import beside, together

_LAST_LINES = 15
_LEARNT_FROM, _LOOKED_AT = 5, 50


async def wait_silently(client: Client, deploy: DeployAnswer) -> DeployAnswer:
    """The deploy as it is when it has ended; without a word, unless it waits for a person: for a script that wants JSON."""
    return await _show(client, deploy, Nothing())


async def wait(client: Client, deploy: DeployAnswer) -> DeployAnswer:
    """Show `deploy` until it has ended, across restarts of the daemon. Returns the deploy as it is then."""
    err().print(f"{deploy.name} {deploy.commit[:12]} {printable(deploy.subject)}".rstrip(), soft_wrap=True)
    try:
        with view_of(await _earlier(client, deploy)) as view:
            async with beside(_show_log(deploy, view)):
                deploy = await _show(client, deploy, view)
    except asyncio.CancelledError:
        err().print(f"{deploy.name} goes on; deployd cancel {deploy.name} stops it", style="yellow", soft_wrap=True)
        raise
    await _tell_end(client, deploy)
    return deploy


async def why_it_waits(client: Client, deploy: DeployAnswer) -> str:
    """Why a deploy that is queued does not begin, and what a person can do; empty when it will begin by itself."""
    if deploy.status is not Status.QUEUED or not (await client.app(deploy.app)).paused:
        return ""
    return f"{deploy.app} is paused: {deploy.name} waits until `deployd resume {deploy.app}`"


async def _earlier(client: Client, deploy: DeployAnswer) -> Mapping[str, float]:
    """How long each step took in the last deploys of the same kind."""
    page = await client.history(deploy.app, _LOOKED_AT)
    alike = same_kind(deploy, page.deploys, _LEARNT_FROM)
    return usual_seconds(await together(*(client.show(one.app, one.number) for one in alike)))


async def _show(client: Client, deploy: DeployAnswer, view: View) -> DeployAnswer:
    told = ""
    async for deploy in client.follow(deploy.app, deploy.number):  # noqa: B020, PLR1704 - the same deploy, later
        view.show(deploy)
        if (why := await why_it_waits(client, deploy)) and why != told:
            err().print(why, style="yellow", soft_wrap=True)
        told = why
    return deploy


async def _show_log(deploy: DeployAnswer, view: View) -> None:
    if not view.wants_log:
        return
    with suppress(DeploydError):  # the deploy itself is followed too, which says so
        async with daemon() as reader, aclosing(reader.log(deploy.app, deploy.number, follow=True)) as blocks:
            async for line in lines_of(blocks):
                view.log(line)


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
        lines = plain(text).splitlines()[-_LAST_LINES:]
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

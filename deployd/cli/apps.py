"""The commands about apps: status, describe, pause, resume, scale, exec, remove."""

import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from deployd.api.states import AppAnswer, AppsAnswer, HealthAnswer, HeldAnswer, OwedAnswer, WatchedAnswer
from deployd.cli import keyboard
from deployd.cli.describe import print_app, print_deploy
from deployd.cli.names import parsed
from deployd.cli.output import AppName, AsJson, only_app, out, print_json, status_text, took, with_daemon
from deployd.cli.tables import age, print_table
from deployd.client import Client, TerminalName
from deployd.logs.log import printable
from deployd.status import Status
from deployd.tasks import beside
from deployd.terminal import Terminal

HEALTH_COLOURS = {"unready": "yellow", "down": "red", "unknown": "yellow"}
_UNWELL = {"unready": "runs but is not ready", "down": "does not serve as it should", "unknown": "cannot be asked"}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd status")(status)
    app.command(epilog="Example: deployd describe iris")(describe)
    app.command(epilog="Example: deployd pause iris")(pause)
    app.command(epilog="Example: deployd resume iris")(resume)
    app.command(epilog="Example: deployd scale iris 3")(scale)
    app.command("exec", epilog="Example: deployd exec -it iris -- sh")(execute)
    app.command(epilog="Example: deployd remove iris")(remove)


def status(
    app: Annotated[str | None, typer.Argument(metavar="APP", help="Only this app.", callback=only_app)] = None,
    as_json: AsJson = False,
) -> None:
    """Show what each app serves, and what is in flight."""

    async def ask(client: Client) -> list[AppAnswer]:
        return await client.apps() if app is None else [await client.app(app)]

    apps = with_daemon(ask)
    if as_json:
        print_json(apps[0] if app is not None else AppsAnswer(apps=apps))
        return
    columns = ("APP", "STATE", "LIVE", "COMMIT", "AGE", "IN FLIGHT", "URL")
    print_table(columns, [_row(one) for one in apps], below="URL")
    for one in apps:
        for text, style in _remarks(one):
            out().print(text, style=style, soft_wrap=True)


def describe(
    name: Annotated[str, typer.Argument(metavar="APP[/N]", help="An app, or one of its deploys, such as iris/42.")],
    as_json: AsJson = False,
) -> None:
    """Show what runs of an app: its container or pods, addresses and last events. Or all that is known of a deploy."""
    app, number = parsed(name)
    if number is not None:
        deploy = with_daemon(lambda client: client.show(app, number))
        print_json(deploy) if as_json else print_deploy(deploy)
        return
    answer = with_daemon(lambda client: client.describe(app))
    print_json(answer) if as_json else print_app(answer)


def pause(app: AppName) -> None:
    """Let an app's new deploys wait."""
    with_daemon(lambda client: client.pause(app))
    out().print(f"{app} is paused: new deploys wait until `deployd resume {app}`")


def resume(app: AppName) -> None:
    """Take deploys again; of those that wait, the newest wins."""
    with_daemon(lambda client: client.resume(app))
    out().print(f"{app} takes deploys again")


def scale(
    app: AppName, replicas: Annotated[int, typer.Argument(metavar="N", min=0, max=1000, help="The number of pods.")]
) -> None:
    """Set the number of an app's pods (Kubernetes only)."""
    with_daemon(lambda client: client.scale(app, replicas))
    out().print(f"{app} is scaled to {replicas} pod{'' if replicas == 1 else 's'}")


def execute(
    app: AppName,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The command and its arguments.")],
    interactive: Annotated[
        bool, typer.Option("--interactive", "-i", "--tty", "-t", help="Run it at this terminal, such as a shell.")
    ] = False,
) -> None:
    """Run a command in the live release. Its exit code becomes that of `deployd exec`."""

    async def ask(client: Client) -> int:
        if not interactive:
            return await _run(client, app, command)
        with keyboard.raw() as typed:
            return await _run(client, app, command, typed)

    raise typer.Exit(with_daemon(ask))


async def _run(client: Client, app: str, command: list[str], typed: Terminal | None = None) -> int:
    code = 1
    async with AsyncExitStack() as stack:
        size = keyboard.size() if typed is not None else None
        async for said in await stack.enter_async_context(aclosing(client.execute(app, command, size))):
            if isinstance(said, TerminalName) and typed is not None:
                await stack.enter_async_context(beside(keyboard.pass_on(typed, client, said)))
            elif isinstance(said, int):
                code = said
            else:
                sys.stdout.write(str(said))
                sys.stdout.flush()
    return code


def remove(app: AppName) -> None:
    """Remove an app that is no longer in the config: its containers and images. Its history stays."""
    with_daemon(lambda client: client.remove(app))
    out().print(f"{app} is removed; its history stays")


def _remarks(app: AppAnswer) -> Iterator[tuple[str, str]]:
    """What a person should know beside the table, and its colour."""
    if app.health is not None and app.health.state != "ok":
        yield _unwell(app, app.health), HEALTH_COLOURS[app.health.state]
    if app.failed is not None and not (app.held and app.held.reason.startswith(f"{app.name}/{app.failed.number} ")):
        how = Status.REVERTED if app.failed.reverted else Status.FAILED
        yield f"{app.name}/{app.failed.number} {how.predicate}: {printable(app.failed.reason)}", "red"
    if app.watched is not None and app.live is not None:
        yield _watched(app.name, app.live.number, app.watched), "blue"
    if app.older_config:
        yield f"{app.name} runs with an older config: `deployd restart {app.name}` rolls the present one out", "yellow"
    if app.held is not None:
        yield _held(app, app.held), "yellow"
    if app.owed is not None:
        yield _owed(app, app.owed), "yellow"


def _unwell(app: AppAnswer, health: HealthAnswer) -> str:
    since = f" (seen {age(health.since)} ago)" if health.since is not None else ""
    return f"{app.name} {_UNWELL[health.state]}{since}: {printable(health.detail, 1000)}"


def _watched(app: str, number: int, watched: WatchedAnswer) -> str:
    until = f"{app}/{number} is watched until {watched.until:%H:%M:%S} UTC"
    return f"{until}; {app}/{watched.standby} stands by: `deployd rollback {app}` returns to it at once"


def _held(app: AppAnswer, held: HeldAnswer) -> str:
    where = f" at #{app.live.number}" if app.live else ""
    return f"{app.name} is held{where}: {held.reason}. The next push, or `deployd deploy {app.name}`, ends it."


def _owed(app: AppAnswer, owed: OwedAnswer) -> str:
    since = took((datetime.now(UTC) - owed.since).total_seconds())
    return f"{app.name}: no look at its remote for {since}: {printable(owed.reason)}"


def _row(app: AppAnswer) -> tuple[str | Text, ...]:
    live, in_flight = app.live, app.in_flight
    moving = Text(f"{in_flight.name} ", "blue") + status_text(in_flight.status) if in_flight else Text("-", "dim")
    return (
        app.name,
        _state(app),
        f"#{live.number}" if live else "-",
        live.commit[:12] if live else "-",
        age(live.since) if live else "-",
        moving if in_flight or not app.queued else Text(f"{app.queued} queued", "yellow"),
        " ".join(app.urls) or "-",
    )


def _state(app: AppAnswer) -> Text:
    if not app.configured:
        return Text("not configured", "yellow")
    if app.health is not None and app.health.state != "ok":
        return Text(app.health.state, HEALTH_COLOURS[app.health.state])
    if app.paused:
        return Text("paused", "yellow")
    if app.held is not None:
        return Text("held", "yellow")
    if app.live:
        return status_text(Status.LIVE)
    return status_text(Status.FAILED) if app.failed else Text("nothing live", "dim")

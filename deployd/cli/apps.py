"""The commands about apps: status, describe, pause, resume, scale, exec, remove."""

import json
import sys
from typing import Annotated

import typer
from rich.text import Text

from deployd.api.answers import AppAnswer
from deployd.cli.speaking import AppName, AsJson, ago, asking, out, said_status, say_json, say_table
from deployd.client import Client
from deployd.domain import Status


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd status")(status)
    app.command(epilog="Example: deployd describe iris")(describe)
    app.command(epilog="Example: deployd pause iris")(pause)
    app.command(epilog="Example: deployd resume iris")(resume)
    app.command(epilog="Example: deployd scale iris 3")(scale)
    app.command("exec", epilog="Example: deployd exec iris -- python -V")(execute)
    app.command(epilog="Example: deployd remove iris")(remove)


def status(
    app: Annotated[str | None, typer.Argument(metavar="[APP]", help="Only this app.")] = None, as_json: AsJson = False
) -> None:
    """What every app serves, and what is on its way."""

    async def ask(client: Client) -> list[AppAnswer]:
        return await client.apps() if app is None else [await client.app(app)]

    apps = asking(ask)
    if as_json:
        say_json(apps[0] if app is not None else apps)
        return
    say_table(("APP", "STATE", "LIVE", "COMMIT", "SINCE", "ON ITS WAY", "URL"), [_row(one) for one in apps])
    for one in apps:
        if one.held is not None:
            out().print(f"{one.name} is held: not at {one.held.commit[:12]}, {one.held.reason}", style="yellow")


def describe(app: AppName, as_json: AsJson = False) -> None:
    """The app, and what runs of it."""
    answer = asking(lambda client: client.describe(app))
    if as_json:
        say_json(answer)
        return
    for title, value in (("app", answer.app.model_dump(mode="json")), ("running", answer.running)):
        out().print(title, style="bold")
        for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines()[1:-1]:
            out().print(line.replace('"', "").removesuffix(","), soft_wrap=True)


def pause(app: AppName) -> None:
    """Let the app's deploys wait."""
    asking(lambda client: client.pause(app))
    out().print(f"{app} is paused: pushes wait until `deployd resume {app}`")


def resume(app: AppName) -> None:
    """Take the app's deploys up again: the newest wins."""
    asking(lambda client: client.resume(app))
    out().print(f"{app} takes deploys again")


def scale(app: AppName, replicas: Annotated[int, typer.Argument(min=0, max=1000, help="How many.")]) -> None:
    """Let so many copies of the app run (Kubernetes only)."""
    asking(lambda client: client.scale(app, replicas))
    out().print(f"{app} is scaled to {replicas}")


def execute(
    app: AppName, command: Annotated[list[str], typer.Argument(metavar="-- COMMAND", help="What to run.")]
) -> None:
    """Run a command beside the app's live release; its exit code becomes ours."""

    async def ask(client: Client) -> int:
        code = 1
        async for said in client.execute(app, command):
            if isinstance(said, int):
                code = said
            else:
                sys.stdout.write(said)
                sys.stdout.flush()
        return code

    raise typer.Exit(asking(ask))


def remove(app: AppName) -> None:
    """Take an app that is gone from the config off the machine; its history stays."""
    asking(lambda client: client.remove(app))
    out().print(f"{app} is removed; its history stays")


def _row(app: AppAnswer) -> tuple[str | Text, ...]:
    live, on_its_way = app.live, app.in_flight
    moving = Text(f"{on_its_way.name} ", "blue") + said_status(on_its_way.status) if on_its_way else Text("-", "dim")
    return (
        app.name,
        _state(app),
        f"#{live.number}" if live else "-",
        live.commit[:12] if live else "-",
        ago(live.since) if live else "-",
        moving if on_its_way or not app.queued else Text(f"{app.queued} queued", "yellow"),
        " ".join(app.urls) or "-",
    )


def _state(app: AppAnswer) -> Text:
    if not app.configured:
        return Text("not configured", "yellow")
    if app.paused:
        return Text("paused", "yellow")
    if app.held is not None:
        return Text("held", "yellow")
    return said_status(Status.LIVE) if app.live else Text("nothing live", "dim")

"""`deployd status`: each app's live release and its health, the deploy in flight, and why the newest commit does not serve."""

import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from deployd.api.states import (
    AppAnswer,
    AppsAnswer,
    HealthAnswer,
    HeldAnswer,
    LiveAnswer,
    OwedAnswer,
    WaitingAnswer,
    WatchedAnswer,
)
from deployd.cli import completion, status_watch
from deployd.cli.output import AsJson, Output, only_app, out, print_json, status_text, with_daemon
from deployd.cli.tables import Listing, print_listing
from deployd.cli.times import age, took
from deployd.client import Client
from deployd.domain import model_version
from deployd.logs.log import printable
from deployd.status import Status

HEALTH_COLOURS = {"unready": "yellow", "down": "red", "unknown": "yellow"}
_UNWELL = {"unready": "runs but is not ready", "down": "does not serve as it should", "unknown": "cannot be checked"}

COLUMNS = ("APP", "STATE", "LIVE", "COMMIT", "AGE", "IN FLIGHT", "URL")
_WIDE = ("APP", "STATE", "LIVE", "COMMIT", "AGE", "IN FLIGHT", "HEALTH", "MODEL", "TARGET", "FOLLOWS", "URL", "IMAGE")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: deployd status --watch")(status)


def status(
    app: Annotated[
        str | None,
        typer.Argument(metavar="APP", help="Only this app.", callback=only_app, autocompletion=completion.apps),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show each change, in place on a terminal, until Ctrl-C.")
    ] = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Show what each app serves, its health, and what is in flight."""
    wide, as_json = output == "wide", as_json or output == "json"

    async def ask(client: Client) -> list[AppAnswer]:
        return await client.apps() if app is None else [await client.app(app)]

    if watch:
        view = status_watch.view(lambda apps: listing(apps, wide=wide), remarks, as_json=as_json)
        with_daemon(lambda client: status_watch.follow(client, app, view), away=view.away, patience=math.inf)
        return
    apps = with_daemon(ask)
    if as_json:
        print_json(apps[0] if app is not None else AppsAnswer(apps=apps))
        return
    print_listing(listing(apps, wide=wide))
    for one in apps:
        for text, style in remarks(one):
            out().print(text, style=style, soft_wrap=True)


def listing(apps: Sequence[AppAnswer], *, wide: bool) -> Listing:
    """A row for each app."""
    if wide:
        return Listing(_WIDE, [(*_row(one), *_more(one)) for one in apps])
    return Listing(COLUMNS, [(*_row(one), _urls(one)) for one in apps], below="URL")


def remarks(app: AppAnswer) -> Iterator[tuple[str, str]]:
    """The remarks below the table, each with its colour."""
    if app.health is not None and app.health.state != "ok":
        yield _unwell(app, app.health), HEALTH_COLOURS[app.health.state]
    if app.failed is not None and not (app.held and app.held.reason.startswith(f"{app.name}/{app.failed.number} ")):
        how = Status.REVERTED if app.failed.reverted else Status.FAILED
        yield f"{app.name}/{app.failed.number} {how.predicate}: {printable(app.failed.reason)}", "red"
    if app.watched is not None and app.live is not None:
        yield _watched(app.name, app.live.number, app.watched), "blue"
    if app.older_config:
        yield f"{app.name} runs with an older config: `deployd restart {app.name}` rolls out the current one", "yellow"
    if app.held is not None:
        yield _held(app, app.held), "yellow"
    if app.owed is not None:
        yield _owed(app, app.owed), "yellow"
    if app.waiting is not None:
        yield _waiting(app, app.waiting), "yellow"


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
    what = "its remote" if owed.what == "remote" else "the registry of its model"
    return f"{app.name}: no look at {what} for {since}: {printable(owed.reason)}"


def _waiting(app: AppAnswer, waiting: WaitingAnswer) -> str:
    since = took((datetime.now(UTC) - waiting.since).total_seconds())
    return f"{app.name}: {waiting.commit[:12]} has waited for its checks for {since}: {printable(waiting.reason)}"


def _row(app: AppAnswer) -> tuple[str | Text, ...]:
    live, in_flight = app.live, app.in_flight
    moving = Text(f"{in_flight.name} ", "blue") + status_text(in_flight.status) if in_flight else Text("-", "dim")
    return (
        app.name,
        _state(app),
        f"#{live.number}" if live else "-",
        _goal(live) if live else "-",
        age(live.since) if live else "-",
        moving if in_flight or not app.queued else Text(f"{app.queued} queued", "yellow"),
    )


def _goal(live: LiveAnswer) -> str:
    return f"{live.commit[:12]} {live.registered.short}" if live.registered is not None else live.commit[:12]


def _more(app: AppAnswer) -> tuple[str | Text, ...]:
    """The cells that only `-o wide` has."""
    state = app.health.state if app.health is not None and app.live is not None else None
    return (
        Text(state, HEALTH_COLOURS.get(state, "green")) if state is not None else "-",
        (model_version(app.live.model) or "-") if app.live else "-",
        app.target or "-",
        app.branch or app.tag or "-",
        _urls(app),
        (app.live.image or "-") if app.live else "-",
    )


def _urls(app: AppAnswer) -> str:
    return " ".join(app.urls) or "-"


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

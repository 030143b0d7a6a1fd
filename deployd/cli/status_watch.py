"""The status of the apps, kept fresh by the daemon's events: a table drawn in place on a terminal, lines or JSON elsewhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import replace
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.text import Text

from deployd.api.states import AppAnswer
from deployd.cli.output import out, print_away
from deployd.cli.tables import Listing, room
from deployd.client import Client
from deployd.errors import Unavailable

Listed = Callable[[Sequence[AppAnswer]], Listing]
Remarks = Callable[[AppAnswer], Iterator[tuple[str, str]]]

_DRAWN_EACH_SECOND = 2
_FEWEST = 3
_WIDTHS = {"STATE": len("nothing live"), "LIVE": len("#1000"), "COMMIT": 12, "AGE": len("9m59s")}


class View(Protocol):
    """Shows the apps, again and again."""

    def show(self, apps: Sequence[AppAnswer]) -> None:
        """Show the apps, or only what has changed."""

    def away(self, exc: Unavailable) -> None:
        """Say that the daemon is away, and that it is waited for."""

    def drawn(self) -> AbstractContextManager[object]:
        """Draw for the length of the block."""


def view(listed: Listed, remarks: Remarks, *, as_json: bool) -> View:
    """The view that suits standard output."""
    if as_json:
        return _Json()
    drawn = out().is_interactive and not out().is_dumb_terminal
    return _Screen(listed, remarks) if drawn else _Lines(listed, remarks)


async def follow(client: Client, app: str | None, shown: View) -> None:
    """Show the apps, or one, with every change, until cancelled. A daemon that is away at the start is not waited for."""
    shown.show(await client.apps() if app is None else [await client.app(app)])
    with shown.drawn():
        async with aclosing(client.watch(app)) as answers:
            async for apps in answers:
                shown.show(apps)


class _Json:
    """One object on a line for each app, and again for each that has changed."""

    def __init__(self) -> None:
        self._told: dict[str, AppAnswer] = {}

    def show(self, apps: Sequence[AppAnswer]) -> None:
        for app in apps:
            if self._told.get(app.name) != app:
                print(app.model_dump_json(), flush=True)
        self._told = {app.name: app for app in apps}

    def away(self, exc: Unavailable) -> None:
        print_away(exc)

    def drawn(self) -> AbstractContextManager[object]:
        return nullcontext()


class _Lines:
    """The table once, then the row of each app that has changed, with its remarks."""

    def __init__(self, listed: Listed, remarks: Remarks) -> None:
        self._listed = listed
        self._remarks = remarks
        self._told: dict[str, object] = {}
        self._widths: Sequence[int] = ()

    def show(self, apps: Sequence[AppAnswer]) -> None:
        listing = self._listed(apps)
        listing = replace(listing, least=self._widths or _widest(apps, listing.columns))
        self._widths = listing.widths()  # later rows stand below the first ones
        head, *rows = listing.lines()
        news = {app.name: _news(app, listing, at) for at, app in enumerate(apps)}
        for line in [] if self._told else head:
            out().print(line, soft_wrap=True)
        for app, row in zip(apps, rows, strict=True):
            if self._told.get(app.name) != news[app.name]:
                for line in [*row, *(Text(text, style) for text, style in self._remarks(app))]:
                    out().print(line, soft_wrap=True)
        for gone in self._told.keys() - news.keys():
            out().print(f"{gone} is removed", soft_wrap=True)
        out().file.flush()
        self._told = news

    def away(self, exc: Unavailable) -> None:
        print_away(exc)

    def drawn(self) -> AbstractContextManager[object]:
        return nullcontext()


class _Screen:
    """The table and the remarks, drawn again in place, also without a change, since ages grow."""

    def __init__(self, listed: Listed, remarks: Remarks) -> None:
        self._listed = listed
        self._remarks = remarks
        self._apps: Sequence[AppAnswer] = ()
        self._away = ""

    def show(self, apps: Sequence[AppAnswer]) -> None:
        self._apps, self._away = apps, ""

    def away(self, exc: Unavailable) -> None:
        self._away = f"{exc.message}; waiting for it"

    def drawn(self) -> AbstractContextManager[object]:
        return Live(self, console=out(), refresh_per_second=_DRAWN_EACH_SECOND)

    def __rich__(self) -> Group:
        said = [Text(text, style) for app in self._apps for text, style in self._remarks(app)]
        said += [Text(self._away, "yellow")] if self._away else []
        rows = self._rows(out().height - len(said) - 1)
        for line in rows:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*rows, *said)

    def _rows(self, height: int) -> list[Text]:
        """The table, in so many lines; where it has more apps, those on which something goes on come first."""
        head, *rows = self._listed(self._apps).lines(room())
        if sum(map(len, rows)) < height or not rows:
            return [*head, *(line for lines in rows for line in lines)]
        most = max((height - 2) // max(map(len, rows)), _FEWEST)
        first = sorted(zip(self._apps, rows, strict=True), key=lambda pair: self._is_calm(pair[0]))[:most]
        rest = Text(f"… and {len(rows) - len(first)} more", "dim")
        return [*head, *(line for _, lines in first for line in lines), rest]

    def _is_calm(self, app: AppAnswer) -> bool:
        return app.in_flight is None and not app.queued and not any(self._remarks(app))


def _widest(apps: Sequence[AppAnswer], columns: Sequence[str]) -> list[int]:
    """How wide each column may have to become."""
    moving = max((len(app.name) for app in apps), default=0) + len("/1000 rolling out")
    return [{**_WIDTHS, "IN FLIGHT": moving}.get(name, 0) for name in columns]


def _news(app: AppAnswer, listing: Listing, at: int) -> object:
    """The part of a row and its remarks whose change is worth a new line: all but the ages."""
    cells = [str(cell) for name, cell in zip(listing.columns, listing.rows[at], strict=True) if name != "AGE"]
    watched = app.watched.standby if app.watched is not None else None
    waits = app.waiting and (app.waiting.commit, app.waiting.reason)
    return cells, app.held, app.failed, app.owed and app.owed.reason, waits, app.older_config, watched

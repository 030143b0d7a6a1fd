"""Parses names of apps and deploys, `iris` or `iris/42`, and finds the deploy that a person means."""

import re

import typer

from deployd.client import Client
from deployd.errors import RequestRefused
from deployd.status import Status

_NAME = re.compile(r"([^/]+)(?:/(\d+))?")


def parsed(value: str) -> tuple[str, int | None]:
    """The app, and the number of the deploy if there is one."""
    if (match := _NAME.fullmatch(value)) is None:
        raise typer.BadParameter(f"{value} names neither an app nor a deploy; write APP or APP/N, such as iris/42")
    return match[1], int(match[2]) if match[2] else None


async def newest(client: Client, value: str) -> tuple[str, int]:
    """The deploy that is named, else the newest of the app."""
    app, number = parsed(value)
    if number is not None:
        return app, number
    if not (found := (await client.history(app, 1)).deploys):
        raise RequestRefused(404, f"{app} has no deploys", hint=f"deployd deploy {app}")
    return app, found[0].number


async def moving(client: Client, value: str) -> tuple[str, int]:
    """The deploy that is named, else the one of the app that is in flight, else the newest that waits."""
    app, number = parsed(value)
    if number is not None:
        return app, number
    if (in_flight := (await client.app(app)).in_flight) is not None:
        return app, in_flight.number
    queued = [one.number for one in (await client.history(app)).deploys if one.status is Status.QUEUED]
    if not queued:
        raise RequestRefused(409, f"no deploy of {app} waits or is in flight", hint=f"deployd history {app} shows them")
    return app, queued[0]


async def commit_of(client: Client, value: str, commit: str | None) -> tuple[str, str | None]:
    """The app, and the commit that is named: by itself, or as that of a deploy."""
    app, number = parsed(value)
    if number is None:
        return app, commit
    if commit is not None:
        raise typer.BadParameter(f"{value} names a commit already")
    return app, (await client.show(app, number)).commit


def pair(values: list[str]) -> tuple[str, int | None, int]:
    """The app and two deploys of it: `iris 41 42`, `iris/41 iris/42`, `iris/41 42`; of `iris/42` alone the first is None."""
    app, first = parsed(values[0])
    numbers = [first] if first is not None else []
    for value in values[1:]:
        named, number = (app, int(value)) if value.isdecimal() else parsed(value)
        if named != app or number is None:
            raise typer.BadParameter(f"{value} names no deploy of {app}; write its number, or {app}/N")
        numbers.append(number)
    if len(numbers) not in {1, 2}:
        raise typer.BadParameter(f"name one or two deploys, such as {app}/41 {app}/42")
    return app, numbers[0] if len(numbers) == 2 else None, numbers[-1]

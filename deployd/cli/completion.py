"""Shell completion of apps, deploys, releases and deliveries, with quick questions to the daemon.

A daemon that is away or slow offers nothing, without a word. Shells evaluate what they are offered, so only plain words pass:
nothing of a commit, such as its subject, ever does.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress

from typer import Context

from deployd.api.answers import DeployAnswer
from deployd.api.states import AppAnswer
from deployd.cli.daemon import daemon
from deployd.cli.times import age
from deployd.client import Client
from deployd.errors import DeploydError
from deployd.status import Status

_SECONDS = 2.0
_MOST = 30
_PLAIN = re.compile(r"[\w/.-]+", re.ASCII)

Offer = tuple[str, str]
"""A word and its description."""


def apps(incomplete: str) -> list[Offer]:
    """The apps."""

    async def ask(client: Client) -> list[Offer]:
        return [(one.name, _app(one)) for one in await client.apps()]

    return _offered(incomplete, ask)


def deploys(incomplete: str) -> list[Offer]:
    """The apps; with a slash, the newest deploys of one."""
    app, slash, _ = incomplete.partition("/")
    if not slash:
        return apps(incomplete)

    async def ask(client: Client) -> list[Offer]:
        return [(one.name, _deploy(one)) for one in (await client.history(app, _MOST)).deploys]

    return _offered(incomplete, ask)


def releases(ctx: Context, incomplete: str) -> list[Offer]:
    """The numbers of the releases to which the app in the command can go back."""
    name = ctx.params.get("name") or next(iter(ctx.args), "")  # an option without its value leaves the arguments unread
    app = str(name).partition("/")[0]

    async def ask(client: Client) -> list[Offer]:
        found = (await client.history(app, _MOST)).deploys
        return [(str(one.number), _deploy(one)) for one in found if one.status is Status.RETIRED]

    return _offered(incomplete, ask) if app else []


def deliveries(incomplete: str) -> list[Offer]:
    """The newest deliveries."""

    async def ask(client: Client) -> list[Offer]:
        found = (await client.deliveries(_MOST)).deliveries
        return [(one.guid, f"{age(one.received_at)} ago") for one in found]

    return _offered(incomplete, ask)


def _app(app: AppAnswer) -> str:
    return f"live {app.live.commit[:8]}, {age(app.live.since)}" if app.live else "nothing live"


def _deploy(deploy: DeployAnswer) -> str:
    return f"{deploy.status.value.replace('_', ' ')} {deploy.commit[:8]}, {age(deploy.created_at)}"


def _offered(incomplete: str, ask: Callable[[Client], Awaitable[list[Offer]]]) -> list[Offer]:
    async def asked() -> list[Offer]:
        async with asyncio.timeout(_SECONDS), daemon(patience=0) as client:
            return await ask(client)

    with suppress(DeploydError, TimeoutError, OSError):
        return list(_plain(incomplete, asyncio.run(asked())))
    return []


def _plain(incomplete: str, offers: Iterable[Offer]) -> Iterator[Offer]:
    return ((word, why) for word, why in offers if word.startswith(incomplete) and _PLAIN.fullmatch(word))

"""A follower of a rollout, and what the server shows it of one that is halfway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.follow import Follower, following
from tests.targets.kubernetes.api_server import Answer, ApiServer, a_list, lines, says
from tests.targets.kubernetes.apps import an_app
from tests.targets.kubernetes.objects import OLD, Json, a_deployment, a_replica_set

CORE, APPS = "/api/v1/namespaces/ml", "/apis/apps/v1/namespaces/ml"
HALF: Json = {"total": 4, "updated": 1, "available": 3}


def shows(server: ApiServer, deployment: Json, *pods: Json, then: tuple[Answer, ...] = ()) -> None:
    """Set what lists answer; `then` is what the watches of the Deployment do, in turn, and the last one stays."""
    server.on("GET", f"{APPS}/deployments", says(a_list("1", deployment)))
    server.on("WATCH", f"{APPS}/deployments", *(then or (lines(hold=True),)))
    for path, items in (
        (f"{APPS}/replicasets", (a_replica_set("old", "1", OLD), a_replica_set())),
        (f"{CORE}/pods", pods),
        (f"{CORE}/events", ()),
    ):
        server.on("GET", path, says(a_list("1", *items)))
        server.on("WATCH", path, lines(hold=True))


def later(event: asyncio.Event, answer: Answer) -> Answer:
    """Give this answer once `event` is set."""

    async def wait(request: web.Request) -> web.StreamResponse:
        await event.wait()
        return await answer(request)

    return wait


@asynccontextmanager
async def follower_of(api: Cluster) -> AsyncIterator[Follower]:
    """A follower of the rollout of iris, for the length of the block."""
    async with asyncio.timeout(30), following(api, an_app(), a_deployment()) as follower:
        yield follower


async def ignore(_: str) -> None:
    """What is told is of no interest."""

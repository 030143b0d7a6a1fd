import asyncio

from aiohttp import web

from deployd.config.app import App
from deployd.errors import Unavailable
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.watch import Watch
from tests.targets.kubernetes.api_server import ApiServer, a_list, an_item, lines, says
from tests.targets.kubernetes.apps import an_app


class Clusters:
    """Opens no cluster; tells for which apps it was asked."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[App] = asyncio.Queue()

    async def open(self, app: App) -> Cluster:
        self.asked.put_nowait(app)
        raise Unavailable("away")


async def test_each_app_is_followed_and_followed_anew_when_its_config_changes() -> None:
    clusters = Clusters()
    watch = Watch(clusters.open)
    serving = asyncio.create_task(watch.serve(lambda _app: None))
    first, second = an_app(replicas=1), an_app(replicas=2)
    try:
        async with asyncio.timeout(20):
            for app in (first, second):
                watch.expect([app])
                assert await clusters.asked.get() == app
            watch.expect([second])
            await asyncio.sleep(0)
        assert clusters.asked.empty()
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def test_a_deployment_that_is_deleted_is_told(server: ApiServer, api: Cluster) -> None:
    path, told, open_the_watch = "/apis/apps/v1/namespaces/ml/deployments", asyncio.Queue[str | None](), asyncio.Event()
    deleted = lines(("DELETED", an_item("iris", "2")), hold=True)

    async def later(request: web.Request) -> web.StreamResponse:
        await open_the_watch.wait()
        return await deleted(request)

    async def cluster(_app: App) -> Cluster:
        return api

    server.on("GET", path, says(a_list("1", an_item("iris"))))
    server.on("WATCH", path, later)
    watch = Watch(cluster)
    watch.expect([an_app(env={"MODE": "fast"})])
    serving = asyncio.create_task(watch.serve(told.put_nowait))
    try:
        async with asyncio.timeout(20):
            assert await told.get() == "iris"  # what is there
            while not told.empty():
                told.get_nowait()
            open_the_watch.set()
            assert await told.get() == "iris"
    finally:
        serving.cancel()
        await asyncio.wait({serving})
    assert serving.cancelled(), serving

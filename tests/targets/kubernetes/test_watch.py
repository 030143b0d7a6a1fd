import asyncio

from deployd.config.app import App
from deployd.errors import Unavailable
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.watch import Watch
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

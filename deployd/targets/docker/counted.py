"""The gateway's counters for each app so far, with the deploys whose containers have the addresses."""

from collections.abc import Iterable, Mapping

from deployd.config.app import App
from deployd.gateway.gateway import Gateway
from deployd.samples import Counted
from deployd.targets.docker.containers import Containers


async def counted(apps: Iterable[App], containers: Containers, gateway: Gateway) -> Mapping[str, Counted]:
    """The counters of those `apps` that the gateway listens for, with two questions for any number of apps."""
    readings = await gateway.readings()
    wanted = {app.name: app for app in apps if app.name in readings}
    deploys = await containers.addresses(wanted) if wanted else {}
    return {name: Counted(readings[name], deploys.get(name, {})) for name in wanted}

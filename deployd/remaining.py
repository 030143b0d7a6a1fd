"""What still serves after deployd is uninstalled: its containers, and Deployments on a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployd.config.daemon import Config
from deployd.engine.client import EngineClient
from deployd.gateway.layout import gateway_name


@dataclass(frozen=True, slots=True)
class Remaining:
    """Something that still serves. `container` is its name on this machine's engine, empty on a cluster."""

    what: str
    container: str = ""


async def remaining(config: Config) -> Sequence[Remaining]:
    """The gateway and the releases of this daemon that run; Unavailable when the engine does not answer."""
    instance = config.server.identity
    async with EngineClient() as engine:
        found = await engine.containers.list({"io.deployd.instance": instance}, status="running")
    names = sorted(name.lstrip("/") for container in found for name in container["Names"])
    gateway = gateway_name(instance)
    return [
        *(Remaining("the gateway, which takes the requests", name) for name in names if name == gateway),
        *(Remaining(_release(name, instance), name) for name in names if name.startswith(f"deployd-{instance}-")),
        *(Remaining(f"{app.name}: its Deployment on the cluster") for app in config.app if app.target == "kubernetes"),
    ]


def _release(name: str, instance: str) -> str:
    app, _, number = name.removeprefix(f"deployd-{instance}-").rpartition("-")
    return f"release {app}/{number}"

"""Two releases of an app, while the newer one is watched: how their containers live, and the way back to the older one."""

import signal
from collections.abc import Mapping
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy
from deployd.engine.client import EngineClient
from deployd.gateway.gateway import Gateway
from deployd.ports.gate import Candidate
from deployd.ports.watching import Life, Lives
from deployd.probe import headers_of
from deployd.targets.docker.containers import Containers
from deployd.targets.docker.restore import restore
from deployd.targets.docker.spec import ending
from deployd.tasks import uninterrupted

_KILLED = 128 + signal.SIGKILL


async def lives(app: App, deploy: Deploy, containers: Containers, engine: EngineClient) -> Lives:
    """How the container of a release is. One that ended is started again by the engine within a tenth of a second; then only its
    events tell how it ended."""
    found = await containers.described(app, deploy.number)
    if found is None:
        return {"": Life("its container", "", "was removed")}
    state = found["State"]
    ended = _how(found) if not state["Running"] or state["Restarting"] else ""
    before = await _last_end(found, engine) if found["RestartCount"] and not ended else ""
    return {found["Id"]: Life("its container", f"{found['RestartCount']} {state['StartedAt']}", ended, before)}


async def _last_end(found: Mapping[str, Any], engine: EngineClient) -> str:
    """How a container ended that runs again."""
    filters = {"type": ["container"], "container": [found["Id"]], "event": ["die", "oom"]}
    events = await engine.past_events(filters)
    code = next((e["Actor"]["Attributes"].get("exitCode") for e in reversed(events) if e["Action"] == "die"), None)
    if code is None:
        return ""
    killed = any(event["Action"] == "oom" for event in events)
    return _how({**found, "State": {"OOMKilled": killed, "Error": "", "ExitCode": code}})


def _how(found: Mapping[str, Any]) -> str:
    """How a container ended. That it lacked memory is known only a moment after its end."""
    limit, how = found["HostConfig"]["Memory"], ending(found)
    if int(found["State"]["ExitCode"]) == _KILLED and limit and not found["State"]["OOMKilled"]:
        return f"was killed ({how}; its memory limit is {limit / 2**20:.0f} MiB)"
    return how


async def asked(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> Candidate | None:
    """A release in the form of a candidate, for its gates; None when its container does not run."""
    found = await containers.described(app, deploy.number)
    address = containers.address_of(found, app) if found is not None else ""
    if not address or deploy.image is None:
        return None
    return Candidate(app, deploy, address, deploy.image, headers_of(app, secure=gateway.secure))


async def return_traffic(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> None:
    """Send all traffic to the container of a release that stands by. One that does not run is started first."""
    found = await containers.find(app, deploy.number)
    if found is None or found.endpoint is None:
        await restore(app, deploy, containers, gateway)
        return
    await uninterrupted(gateway.switch(app.name, found.endpoint))
    await gateway.save()

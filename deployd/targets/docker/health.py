"""How a release is on the engine: whether its container runs as deployd made it, has the traffic, and answers.

A release that does not answer is only reported, since a restart may not help; `restore` repairs any other difference.
"""

from collections.abc import Mapping
from typing import Any

from deployd.config.app import App
from deployd.config.digest import made_with
from deployd.domain import Deploy, Health
from deployd.gateway.gateway import Gateway
from deployd.probe import headers_of, refusal
from deployd.targets.docker.containers import Containers
from deployd.targets.docker.spec import ending


async def health(app: App, deploy: Deploy, containers: Containers, gateway: Gateway) -> Health:
    """How the recorded live release is."""
    found = await containers.described(app, deploy.number)
    if found is None:
        return Health("down", "its container was removed")
    if wrong := _stopped(found) or await _unreachable(found, app, deploy, containers, gateway):
        return Health("down", wrong)
    if found["State"]["Restarting"]:
        return Health("unready", f"its container {ending(found)}, and restarts again and again")
    headers = headers_of(app, secure=gateway.secure)
    refused = await refusal(containers.address_of(found, app), app.ready, headers)
    return Health("unready", refused) if refused else Health()


def _stopped(found: Mapping[str, Any]) -> str:
    if not found["State"]["Running"]:
        return f"its container {ending(found)}"
    return "its container is paused" if found["State"]["Paused"] else ""


async def _unreachable(
    found: dict[str, Any], app: App, deploy: Deploy, containers: Containers, gateway: Gateway
) -> str:
    if missing := containers.missing_networks(found, app, deploy):
        return f"its container is not in the network {missing[0]}"
    if made_with(deploy, app) and found["HostConfig"]["RestartPolicy"]["Name"] == "no" != app.docker.restart:
        return "the engine would not restart its container"
    endpoint, serving = containers.endpoint_of(found, app), await gateway.serving(app.name)
    if endpoint != serving:
        return f"the gateway sends its traffic to {serving or 'nothing'} instead of {endpoint}"
    return ""

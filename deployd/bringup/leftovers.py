"""Lists and removes what one instance of deployd left on an engine: everything that carries its label, and nothing else."""

import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from deployd.bringup.api import EngineApi
from deployd.engine.names import names
from deployd.errors import Unavailable

_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, order=True)
class Leftover:
    """One object on the engine; `str()` gives `container deployd-iris-1` or `image deployd/iris:0f3c…`."""

    kind: str
    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def leftovers(api: EngineApi, instance: str) -> list[Leftover]:
    """Every object with the label `io.deployd.instance=<instance>`, in the order in which they can be removed."""
    filters = quote(json.dumps({"label": [f"io.deployd.instance={instance}"]}))
    containers: list[dict[str, Any]] = api.get(f"/containers/json?all=1&filters={filters}")
    images: list[dict[str, Any]] = api.get(f"/images/json?filters={filters}")
    networks: list[dict[str, Any]] = api.get(f"/networks?filters={filters}")
    volumes: list[dict[str, Any]] = api.get(f"/volumes?filters={filters}")["Volumes"] or []
    return [
        *(
            Leftover("container", c["Names"][0].removeprefix("/"), f"/containers/{c['Id']}?force=1&v=1")
            for c in containers
        ),
        *(Leftover("image", name, f"/images/{name}?force=1") for image in images for name in _names(image)),
        *(Leftover("network", n["Name"], f"/networks/{n['Id']}") for n in networks),
        *(Leftover("volume", v["Name"], f"/volumes/{v['Name']}?force=1") for v in volumes),
    ]


def remove(api: EngineApi, instance: str, within: float = 30) -> list[Leftover]:
    """Remove all of them and return them; Unavailable when some are still there after `within` seconds.

    Tries again, because a kubelet replaces a container whose pod is not deleted yet.
    """
    found = still = leftovers(api, instance)
    deadline = time.monotonic() + within
    while still:
        refusals = [refusal for leftover in still if (refusal := _refusal(api, leftover))]
        still = leftovers(api, instance)
        if still and time.monotonic() > deadline:
            raise Unavailable(f"cannot be removed: {', '.join(map(str, still))}", hint="; ".join(refusals))
        if still:
            time.sleep(_EVERY_S)  # no event tells what the kubelet does
    return found


def _refusal(api: EngineApi, leftover: Leftover) -> str:
    try:
        api.delete(leftover.path)
    except Unavailable as exc:
        return exc.message
    return ""


def _names(image: dict[str, Any]) -> list[str]:
    return names(image) or [str(image["Id"])]

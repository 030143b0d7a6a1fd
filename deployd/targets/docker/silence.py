"""Why a container does not answer at its port.

The kernel's table of sockets is read in the container (with `cat`), else from the host's /proc, which only counts where the
process is surely the container's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployd.engine.client import EngineClient
from deployd.errors import Unavailable
from deployd.targets.listening import TABLES, Silence, parse, silence


async def find(engine: EngineClient, container: Mapping[str, Any], port: int) -> Silence | None:
    """Why an inspected, running container does not answer at `port`; None when it should, or nobody can tell."""
    if container["HostConfig"]["NetworkMode"] == "host":
        return None  # the table is that of the machine
    image = await engine.images.inspect(container["Image"])
    exposed = sorted(
        int(one.partition("/")[0]) for one in ((image or {}).get("Config") or {}).get("ExposedPorts") or {}
    )
    table = await _table(engine, container)
    return silence(port, None if table is None else parse(table), exposed, "app.docker")


async def _table(engine: EngineClient, container: Mapping[str, Any]) -> str | None:
    printed = bytearray()

    async def take(data: bytes) -> None:
        printed.extend(data)

    try:
        code = await engine.containers.execute(container["Id"], ["cat", *TABLES], take)
    except Unavailable:
        code = 1
    if code == 0:
        return printed.decode(errors="replace")
    return _from_proc(int(container["State"]["Pid"]), container["Id"])


def _from_proc(pid: int, container_id: str) -> str | None:
    """The container's table of sockets from the host's /proc; None when the process cannot be seen, or is not this
    container's."""
    process = Path("/proc", str(pid))
    try:
        if not pid or container_id not in (process / "cgroup").read_text():
            return None
        return "".join((process / table.removeprefix("/proc/")).read_text() for table in TABLES)
    except OSError:
        return None

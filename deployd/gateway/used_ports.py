"""The ports of an instance's gateway, read from the engine alone: this works without the daemon, its lock or its socket."""

from deployd.engine.client import EngineClient
from deployd.gateway.layout import gateway_name
from deployd.gateway.paths import CONFIG
from deployd.gateway.text import read, read_listeners


async def used_ports(engine: EngineClient, instance: str) -> frozenset[int]:
    """The ports on which its running HAProxy listens; empty when it does not run."""
    found = await engine.containers.inspect(gateway_name(instance))
    if found is None or not found["State"]["Running"] or found["State"]["Restarting"]:
        return frozenset()
    published = found["NetworkSettings"]["Ports"] or {}
    if found["HostConfig"]["NetworkMode"] != "host":
        return frozenset(int(bound["HostPort"]) for ports in published.values() for bound in ports or ())
    # HAProxy runs with what this file says: a file that it cannot use is replaced by the former one.
    text = (await engine.containers.read(found["Id"], f"{CONFIG}/haproxy.cfg") or b"").decode(errors="replace")
    ports = {route.listen for route in read(text)}
    if (listeners := read_listeners(text)) is not None:
        ports |= {listeners.http_port, listeners.https_port, listeners.stats_port}
    return frozenset(port for port in ports if port is not None)

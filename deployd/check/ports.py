"""The ports in the config: which they are, whether they can be used, and whether it is deployd that holds them."""

import errno
import socket
from pathlib import Path

from deployd.check.finding import Finding
from deployd.config.daemon import Config
from deployd.gateway.addresses import addresses
from deployd.gateway.text import Listeners
from deployd.host.sockets import listens


def usable(what: str, host: str, port: int, *, ours: bool, key: str = "", by_haproxy: bool = False) -> Finding:
    """Whether a port can be used; `key` is its key in the config.

    HAProxy starts as root, so a port that this user may not bind is free for it.
    """
    where = f"{key}: {host}:{port}" if key else f"{host}:{port}"
    if port == 0 or ours:
        return Finding(what, "ok", where + (" is held by deployd" if ours else ""))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno != errno.EACCES:
                hint = (
                    "find its user with: ss -ltnp"
                    if exc.errno == errno.EADDRINUSE
                    else "use an address of this machine"
                )
                return Finding(what, "wrong", f"{where}: {exc.strerror}", hint)
            if not by_haproxy:
                hint = "use a port above 1023, or systemd's socket"
                return Finding(what, "wrong", f"{where}: {exc.strerror}", hint)
    return Finding(what, "ok", f"{where} is free")


def held_by_deployd(config: Config) -> bool:
    """Whether the deployd that has locked this state directory listens on the API's port.

    A user who may not look into that process has to believe it.
    """
    try:
        pid = (config.server.state_dir / "lock").read_text().strip()
    except OSError:
        return False
    return pid.isdecimal() and Path("/proc", pid).exists() and listens(int(pid), config.server.port) is not False


def wanted(config: Config) -> dict[tuple[str, int], str]:
    """The addresses that the gateway is to listen on, each with its key in the config."""
    apps = [app for app in config.app if app.target == "docker" and app.gateway.listen is not None]
    own = {(config.gateway.bind, app.gateway.listen or 0): f"app.{app.name}.gateway.listen" for app in apps}
    return own | addresses(Listeners.of(config.gateway, bridge=False))

"""A Docker Engine of a test's own, which may be killed and started again: its data, socket and bridge go when it ends.

Debian's dockerd as root with a containerd that outlives it, as under systemd, beside the host's own engine. With `live_restore`
containers outlive dockerd too, as its setting says.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from deployd.bringup.api import EngineApi
from deployd.bringup.engine import Engine, runtime_options
from deployd.bringup.packages import can_install, ensure_packages
from deployd.bringup.process import gone, spawn
from deployd.errors import Unavailable

_DOCKERD = Path("/usr/sbin/dockerd")
_CONTAINERD = Path("/usr/bin/containerd")
_WITHIN_S = 60.0
_NETWORKS = range(100, 120)


class SpareEngine:
    """Use `spare_engine`. Everything of it lies below `directory`, its containers on the bridge `bridge`."""

    def __init__(self, directory: Path, bridge: str, *, live_restore: bool) -> None:
        self._directory = directory
        self._bridge = bridge
        self._live_restore = live_restore
        self._pid = self._containerd = 0
        self.url = f"unix://{directory / 'docker.sock'}"

    @property
    def engine(self) -> Engine:
        """It, as the product's own set-up knows an engine."""
        return Engine(self.url, str(self.api().get("/version")["Version"]))

    @property
    def environment(self) -> dict[str, str]:
        """What leads a daemon here."""
        return {"DOCKER_HOST": self.url}

    def api(self) -> EngineApi:
        """Speak to it."""
        return EngineApi(self.url, timeout=60)

    def start(self) -> None:
        """Start it, and wait until it answers; Unavailable with its last words when it does not."""
        log = self._directory / "log"
        if not self._containerd:
            self._containerd = spawn([str(_CONTAINERD), *self._containerd_options()], log)
        self._pid = spawn([str(_DOCKERD), *self._options(), *runtime_options()], log)
        deadline = monotonic() + _WITHIN_S
        while not self.api().ping():
            if gone(self._pid) or monotonic() > deadline:
                raise Unavailable("the spare engine did not start", hint=log.read_text(errors="replace")[-2000:])
            sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as by a crash; containers run on, with nobody to look after them."""
        _end(self._pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as systemd does; without `live_restore` all containers end with it."""
        _end(self._pid, signal.SIGTERM)

    def take_images(self, images: Sequence[str], source: str) -> None:
        """Copy images from the engine at `source`."""
        with subprocess.Popen(["docker", "-H", source, "save", *images], stdout=subprocess.PIPE) as saving:
            subprocess.run(["docker", "-H", self.url, "load"], stdin=saving.stdout, check=True, capture_output=True)
        if saving.returncode != 0:
            raise Unavailable("the images cannot be copied to the spare engine")

    def remove_containers(self) -> None:
        """So that no process of them outlives the engine."""
        for container in self.api().get("/containers/json?all=1"):
            self.api().delete(f"/containers/{container['Id']}?force=1&v=1")

    def remove_networks(self) -> None:
        """An engine that ends leaves the bridges of its networks, and with them the ranges that no other may take."""
        for network in self.api().get("/networks"):
            if network["Driver"] == "bridge" and network["Name"] != "bridge":
                self.api().delete(f"/networks/{network['Id']}")

    def end(self) -> None:
        """Remove all that runs on it, end it, and its containerd."""
        if gone(self._pid):
            self.start()
        self.remove_containers()
        self.remove_networks()
        self.stop()
        _end(self._containerd, signal.SIGTERM)

    def _containerd_options(self) -> list[str]:
        directory = self._directory / "containerd"
        return [f"--address={directory / 'socket'}", f"--root={directory / 'root'}", f"--state={directory / 'state'}"]

    def _options(self) -> list[str]:
        return [
            f"--host={self.url}",
            f"--containerd={self._directory / 'containerd' / 'socket'}",
            f"--data-root={self._directory / 'data'}",
            f"--exec-root={self._directory / 'exec'}",
            f"--pidfile={self._directory / 'pid'}",
            f"--bridge={self._bridge}",
            f"--live-restore={str(self._live_restore).lower()}",
            "--iptables=false",
            "--ip-masq=false",
            "--shutdown-timeout=3",
        ]


@contextmanager
def spare_engine(directory: Path, *, live_restore: bool) -> Iterator[SpareEngine]:
    """Run one inside the block; raises Unavailable where there is no dockerd, or it may not be started."""
    if not can_install() or not _DOCKERD.exists():
        raise Unavailable(
            "a Docker Engine of a test's own needs root and dockerd", hint="run the tests as root on Debian"
        )
    ensure_packages("iproute2")
    with _bridge() as bridge:
        spare = SpareEngine(directory, bridge, live_restore=live_restore)
        spare.start()
        try:
            yield spare
        finally:
            spare.end()
            _unmount(directory)


@contextmanager
def _bridge() -> Iterator[str]:
    """A bridge with a network that is free on this host."""
    taken = _ip("-o", "address").stdout
    number = next(number for number in _NETWORKS if f"10.213.{number}." not in taken)
    name = f"deployd{number}"
    _ip("link", "add", name, "type", "bridge")
    try:
        _ip("address", "add", f"10.213.{number}.1/24", "dev", name)
        _ip("link", "set", name, "up")
        yield name
    finally:
        _ip("link", "delete", name)


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done


def _unmount(directory: Path) -> None:
    """What a killed engine left mounted, the innermost first."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(places):
        if place.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", place], check=True)


def _end(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)
    deadline = monotonic() + _WITHIN_S
    while not gone(pid):
        if monotonic() > deadline:
            raise Unavailable(f"process {pid} does not end")
        sleep(0.02)

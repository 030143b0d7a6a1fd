"""A second Docker Engine that a test may kill and start again; its data, socket and bridge are removed at its end.

Debian's dockerd as root, beside the host's engine, with a containerd that keeps running when dockerd ends, as under systemd.
With `live_restore` the containers keep running too, as with the setting of that name. Where the tests run on an engine of another
release (tests/hosts), this is one of that release: INSIDE are the words that run a program of its root, OPTIONS its own options.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from deployd.bringup.api import EngineApi
from deployd.bringup.cache import locked
from deployd.bringup.engine import Engine, runtime_options
from deployd.bringup.packages import can_install, ensure_packages
from deployd.bringup.process import gone, spawn
from deployd.errors import Unavailable

_DOCKERD = Path("/usr/sbin/dockerd")
_CONTAINERD = Path("/usr/bin/containerd")
INSIDE = os.environ.get("DEPLOYD_TEST_INSIDE", "").split()
OPTIONS = os.environ.get("DEPLOYD_TEST_DOCKERD", "").split()
_WITHIN_S = 60.0
_NETWORKS = range(100, 120)


class SpareEngine:
    """`spare_engine` runs it. All its files are below `directory`; its containers are on the bridge `bridge`."""

    def __init__(self, directory: Path, bridge: str, *, live_restore: bool) -> None:
        self._directory = directory
        self.bridge = bridge
        self._live_restore = live_restore
        self._pid = self._containerd = 0
        self.url = f"unix://{directory / 'docker.sock'}"

    @property
    def engine(self) -> Engine:
        """It as bringup's Engine."""
        return Engine(self.url, str(self.api().get("/version")["Version"]))

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a daemon that uses this engine."""
        return {"DOCKER_HOST": self.url}

    def api(self) -> EngineApi:
        """A client of its API."""
        return EngineApi(self.url, timeout=60)

    def start(self) -> None:
        """Start it, and wait until it answers; Unavailable with the end of its log when it does not."""
        log = self._directory / "log"
        if not self._containerd:
            self._containerd = spawn([*INSIDE, str(_CONTAINERD), *self._containerd_options()], log)
        self._pid = spawn([*INSIDE, str(_DOCKERD), *self._options(), *OPTIONS, *runtime_options()], log)
        deadline = monotonic() + _WITHIN_S
        while not self.api().ping():
            if gone(self._pid) or monotonic() > deadline:
                raise Unavailable("the spare engine did not start", hint=log.read_text(errors="replace")[-2000:])
            sleep(0.05)

    def kill(self) -> None:
        """End it by SIGKILL, as in a crash; containers keep running, unsupervised."""
        _end(self._pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it by SIGTERM, as systemd does; without `live_restore` all containers end with it."""
        _end(self._pid, signal.SIGTERM)

    def take_images(self, images: Sequence[str], source: str) -> None:
        """Copy images from the engine at `source`."""
        with subprocess.Popen(["docker", "-H", source, "save", *images], stdout=subprocess.PIPE) as saving:
            subprocess.run(["docker", "-H", self.url, "load"], stdin=saving.stdout, check=True, capture_output=True)
        if saving.returncode != 0:
            raise Unavailable("the images cannot be copied to the spare engine")

    def remove_containers(self) -> None:
        """Remove all containers, so that no process of theirs is left when the engine ends."""
        for container in self.api().get("/containers/json?all=1"):
            self.api().delete(f"/containers/{container['Id']}?force=1&v=1")

    def remove_networks(self) -> None:
        """Remove all networks: their bridges would stay when the engine ends, and keep their address ranges in use."""
        for network in self.api().get("/networks"):
            if network["Driver"] == "bridge" and network["Name"] != "bridge":
                self._remove_network(f"/networks/{network['Id']}")

    def _remove_network(self, path: str) -> None:
        """Docker 28 may still count a removed container in, when it was killed while the container ran."""
        for left in (self.api().get(path)["Containers"] or {}).values():
            self.api().post(f"{path}/disconnect", {"Container": left["Name"], "Force": True})
        self.api().delete(path)

    def end(self) -> None:
        """Remove its containers and networks, then end it and its containerd."""
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
            f"--bridge={self.bridge}",
            f"--live-restore={str(self._live_restore).lower()}",
            "--iptables=false",
            "--ip-masq=false",
            "--shutdown-timeout=3",
        ]


@contextmanager
def spare_engine(directory: Path, *, live_restore: bool) -> Iterator[SpareEngine]:
    """Run one inside the block; Unavailable when there is no dockerd or this is not root on Debian."""
    if not can_install() or not (INSIDE or _DOCKERD.exists()):
        raise Unavailable("a second Docker Engine needs root and dockerd", hint="run the tests as root on Debian")
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
    """A bridge with an address range that is free on this host."""
    with locked("spare-bridge"):
        taken = _ip("-o", "address").stdout
        number = next(number for number in _NETWORKS if f"10.213.{number}." not in taken)
        name = f"deployd{number}"
        _ip("link", "add", name, "type", "bridge")
        _ip("address", "add", f"10.213.{number}.1/24", "dev", name)
    try:
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
    """Unmount what a killed engine left mounted, the innermost first."""
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

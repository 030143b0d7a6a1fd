"""Docker Engines of other releases, each beside the machine's own: in a root, a network namespace and a directory of its own.

An engine stays up until it is stopped; what it stores stays until its directory is removed. Whoever uses its containers'
addresses runs in its namespace: `environment` and `command` are what the user of one needs.
"""

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from deployd.bringup import engine as own
from deployd.bringup import images as base_images
from deployd.bringup.api import EngineApi
from deployd.bringup.cache import directory, locked
from deployd.bringup.engine import Engine
from deployd.bringup.process import gone, spawn
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed import haproxy_images, images
from tests.testbed.namespaces import Namespace
from tests.testbed.roots import Root, root

SUITES = {"26": "trixie", "28": "sid"}
_WITHIN_S = 60.0
_COPIED = (base_images.PYTHON, images.BUSYBOX, images.PAUSE)

# Runs a daemon in a root: the directories of its users are at the same paths inside, so that bind mounts mean the same. The root
# becomes that of the mount namespace: after a chroot, what is executed in a container would be in the host's file system.
_ENTER = """set -e
root=$1 cache=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"  # shows the interfaces of this network namespace
mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
for place in /tmp "$HOME" "$cache"; do
    mkdir -p "$root$place"
    mount --bind "$place" "$root$place"
done
mkdir "$root/run/host"
pivot_root "$root" "$root/run/host"
cd /
umount --lazy /run/host
rmdir /run/host
exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Release:
    """Which engine: its release, and how its users start it."""

    release: str
    containerd_store: bool = False  # the default of new installations of Engine 29
    min_api: str = ""  # the oldest API that it speaks: 1.44 is what Engine 29 refuses to go below

    @property
    def name(self) -> str:
        """The name of its directory and its namespace: `28-containerd-1.44`."""
        return "-".join(filter(None, (self.release, "containerd" * self.containerd_store, self.min_api)))


class OtherEngine:
    """One, whether it runs or not. All its files are below `directory`."""

    def __init__(self, name: str, root: Root) -> None:
        self.name = name
        self.root = root
        self.directory = directory() / "engines" / name
        self.namespace = Namespace(f"deployd-{name}")
        self.url = f"unix://{self.directory / 'docker.sock'}"

    @property
    def engine(self) -> Engine:
        """It as bringup's Engine."""
        return Engine(self.url, str(self.api().get("/version")["Version"]))

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it has in its environment; `docker` and buildx are those of its release."""
        return {
            "DOCKER_HOST": self.url,
            "DOCKER_CONFIG": str(self.directory / "config"),
            "PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}",
        }

    def api(self) -> EngineApi:
        """A client of its API."""
        return EngineApi(self.url, timeout=600)

    def command(self, *words: str) -> list[str]:
        """A command that runs `words` where the addresses of its containers and its ports are."""
        return self.namespace.command(*words)

    @property
    def inside(self) -> list[str]:
        """The words before a program of its root that run it beside the daemon: same files, same network."""
        return self.namespace.command(f"--mount=/proc/{self.pid}/ns/mnt")

    @property
    def pid(self) -> int | None:
        """The process of its daemon; None when it does not run."""
        try:
            pid = int((self.directory / "started").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # Another process may have got the number since.
        return pid if not gone(pid) and any(str(self.directory) in word for word in words) else None

    def usage(self) -> str:
        """What it is, and how one uses it."""
        version, here, haproxy = self.api().get("/version"), self.directory, self.root.version("haproxy")
        entered = " ".join(self.command("python", "-m", "pytest", "-m", "engine", "tests/contract"))
        return f"""{version["Version"]}, API {version["ApiVersion"]}, HAProxy {haproxy} as {base_images.HAPROXY}
  its clients and socket        export DOCKER_HOST={self.url} DOCKER_CONFIG={here}/config PATH={here}/bin:$PATH
  where its containers answer   {entered}
  its log                       {here}/log
  to end it                     python -m tests.testbed stop {self.name}"""

    def start(self, daemon: list[str], environment: dict[str, str]) -> None:
        """Start `daemon` of the root and wait until it answers. Else end it: Unavailable, with the end of its log."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_clients()
        self.namespace.up()
        shutil.copy("/etc/resolv.conf", self.root.path / "etc/resolv.conf")
        log = self.directory / "log"
        entered = [
            "/usr/bin/unshare",
            "--mount",
            "/bin/sh",
            "-c",
            _ENTER,
            "enter",
            str(self.root.path),
            str(directory()),
        ]
        pid = spawn(self.command(*entered, *daemon), log, os.environ | environment)
        (self.directory / "started").write_text(str(pid))
        deadline = monotonic() + _WITHIN_S
        while not self.api().ping():
            if gone(pid) or monotonic() > deadline:
                self.stop()
                raise Unavailable(f"{self.name} did not start", hint=log.read_text(errors="replace")[-2000:])
            sleep(0.05)

    def stop(self) -> bool:
        """End it, with its containers and its namespace; False when it does not run."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            deadline = monotonic() + _WITHIN_S
            while not gone(pid):
                if monotonic() > deadline:
                    raise Unavailable(f"{self.name} does not end (process {pid})")
                sleep(0.05)
        self.namespace.down()
        return pid is not None

    def take_images(self, progress: Progress) -> None:
        """Give it the base images: copies of those of the machine's own engine, and the HAProxy of its own release."""
        missing = [name for name in (*_COPIED, base_images.HAPROXY) if not base_images.present(self.api(), name)]
        if not missing:
            return
        mine = own.find()
        with progress.step("giving it the base images"):
            if mine is not None:
                _copy(
                    [name for name in _COPIED if name in missing and base_images.present(mine.api(), name)], mine, self
                )
            if base_images.HAPROXY in missing:
                haproxy_images.make(self.api(), self.root, base_images.HAPROXY)
            images.ensure(self.engine, progress)

    def _write_clients(self) -> None:
        """Scripts for the docker and the buildx of its root, where the docker client looks for them."""
        plugin = "cli-plugins/docker-buildx"
        self.root.wrapper("/usr/bin/docker", self.directory / "bin/docker")
        self.root.wrapper(f"/usr/libexec/docker/{plugin}", self.directory / "config" / plugin)


def ensure(release: Release, progress: Progress) -> OtherEngine:
    """Bring it up, with the base images; Unavailable, with the reason, where that is not possible."""
    if release.release not in SUITES:
        raise Unavailable(f"no Debian release has Docker Engine {release.release}", hint=f"known: {', '.join(SUITES)}")
    engine = OtherEngine(release.name, root(SUITES[release.release], progress))
    with locked(f"engine-{release.name}"):
        if engine.pid is None or not engine.api().ping():
            options, environment = differences(release)
            with progress.step(f"starting Docker Engine {engine.root.version('docker.io')}"):
                engine.start([*_dockerd(engine), *options], environment)
        engine.take_images(progress)
    return engine


def known() -> list[str]:
    """The names of those that were ever started here."""
    return sorted(path.parent.name for path in (directory() / "engines").glob("*/started"))


def runs(name: str) -> bool:
    """Whether the one of that name runs."""
    return _by_name(name).pid is not None


def stop(name: str) -> bool:
    """End the one of that name; False when it does not run."""
    return _by_name(name).stop()


def _by_name(name: str) -> OtherEngine:
    return OtherEngine(name, Root("", Path()))


def differences(release: Release) -> tuple[list[str], dict[str, str]]:
    """The options and the environment of dockerd that make it store and speak so."""
    options = ["--feature=containerd-snapshotter=true"] if release.containerd_store else []
    return options, {"DOCKER_MIN_API_VERSION": release.min_api} if release.min_api else {}


def _dockerd(engine: OtherEngine) -> list[str]:
    state = engine.directory
    options = [
        f"--host={engine.url}",
        f"--data-root={state / 'data'}",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        "--bip=10.215.0.1/24",
        "--default-address-pool=base=10.215.128.0/17,size=24",
        "--shutdown-timeout=3",
    ]
    return ["/usr/sbin/dockerd", *options, *own.runtime_options()]


def _copy(names: list[str], source: Engine, target: OtherEngine) -> None:
    if not names:
        return
    with subprocess.Popen(["docker", "-H", source.url, "save", *names], stdout=subprocess.PIPE) as saving:
        load = ["docker", "-H", target.url, "load"]
        loaded = subprocess.run(
            load, stdin=saving.stdout, env=os.environ | target.environment, capture_output=True, check=False
        )
    if saving.returncode or loaded.returncode:
        raise Unavailable("the images cannot be copied", hint=loaded.stderr.decode(errors="replace")[-1000:])

"""Finds a running Docker Engine; as root on Debian, installs and starts Debian's own when none runs.

Also finds a docker client that can build with BuildKit. Makes no image and never stops an engine.
"""

import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic, sleep

from deployd.bringup.api import EngineApi
from deployd.bringup.cache import directory, locked
from deployd.bringup.packages import can_install, ensure_packages, known, refresh
from deployd.bringup.process import gone, spawn
from deployd.bringup.progress import Progress
from deployd.engine import endpoint
from deployd.errors import Unavailable

LOG = Path("/var/log/deployd-dockerd.log")
SOCKETS = (endpoint.USUAL,)
SYSTEM_CLIENTS = Path("/usr/bin")
LABEL = "io.deployd.bringup=started"  # of an engine that was started here, for nobody else
_CONTAINERS_SHARES = 16_384  # a process has 1024
_CAP_SYS_RESOURCE = 24

# kubelet asks for negative OOM scores, which runc cannot set without CAP_SYS_RESOURCE. This wrapper sets them to 0.
RUNTIME = """#!/bin/sh
bundle=. previous= makes=
for argument in "$@"; do
    case $previous in --bundle|-b) bundle=$argument ;; esac
    case $argument in --bundle=*) bundle=${argument#--bundle=} ;; create|run) makes=1 ;; esac
    previous=$argument
done
if [ "$makes" ] && [ -f "$bundle/config.json" ]; then
    sed -i 's/"oomScoreAdj": *-[0-9]*/"oomScoreAdj":0/' "$bundle/config.json"
fi
exec runc "$@"
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers at `url`, which DOCKER_HOST accepts."""

    url: str
    version: str
    product: str = "Docker Engine"

    def api(self, timeout: float = 30) -> EngineApi:
        """A client of its API; each request waits `timeout` seconds for an answer."""
        return EngineApi(self.url, timeout)


def find() -> Engine | None:
    """The engine that the docker client is told to use, else the first that answers on a usual socket; None when none does."""
    for url in _urls():
        api = EngineApi(url, timeout=3)
        if api.ping():
            product = "Podman" if api.is_podman() else "Docker Engine"
            return Engine(url, str(api.get("/version")["Version"]), product)
    return None


def ensure(progress: Progress | None = None) -> Engine:
    """A running engine, installed and started if necessary; Unavailable, with a hint, when that is not possible."""
    if found := find():
        return found
    if (named := endpoint.named()) is not None:
        raise Unavailable(
            f"no Docker Engine answers at {named.url}, by {named.rule}", hint="start it, or unset DOCKER_HOST"
        )
    if not can_install():
        raise Unavailable("no Docker Engine answers", hint=_hint())
    progress = progress or Progress()
    with locked("engine"):
        return find() or _bring_up(progress)


@cache
def buildkit_client() -> Path | None:
    """The first docker client on PATH that can build with BuildKit (DOCKER_BUILDKIT=1); None when none can."""
    directories = [*os.environ.get("PATH", "").split(os.pathsep), str(SYSTEM_CLIENTS)]
    clients = (Path(directory) / "docker" for directory in dict.fromkeys(directories) if directory)
    return next((client for client in clients if os.access(client, os.X_OK) and _builds_with_buildkit(client)), None)


def _urls() -> list[str]:
    if (named := endpoint.named()) is not None:
        return [named.url]
    sockets = [*(path for path in SOCKETS if endpoint.is_socket(path)), *endpoint.other_sockets()]
    return [f"unix://{path}" for path in sockets]


def _hint() -> str:
    forbidden = [url for url in _urls() if not os.access(url.removeprefix("unix://"), os.W_OK)]
    if forbidden:
        return f"you may not use {forbidden[0].removeprefix('unix://')}: join the group docker and log in again"
    return "install and start Docker, or run this as root on Debian: it then does both for you"


def _bring_up(progress: Progress) -> Engine:
    if not Path("/usr/sbin/dockerd").exists():
        progress.say("No Docker Engine answers: Debian's docker.io is installed and started")
        refresh()
        # Since Debian 13, the client and its BuildKit plugin are separate packages.
        ensure_packages("docker.io", *filter(known, ("docker-cli", "docker-buildx")), progress=progress)
    with progress.step("starting the Docker Engine"):
        return _answering(None if _systemd() else _start(), within=60)


def _systemd() -> bool:
    """Start it by systemd; False where systemd does not run."""
    if not Path("/run/systemd/system").is_dir():
        return False
    return subprocess.run(["systemctl", "start", "docker"], check=False).returncode == 0


def _start() -> int:
    weigh_containers(Path("/sys/fs/cgroup"))
    # The engine starts its own program once more for each container; collecting the garbage of that start took a fifth of it.
    return spawn(["/usr/sbin/dockerd", f"--label={LABEL}", *runtime_options()], LOG, os.environ | {"GOGC": "400"})


def weigh_containers(cgroups: Path) -> None:
    """Give the containers more CPU weight than the engine's own processes, as systemd does with a cgroup for each service and
    container. Otherwise each process of the engine weighs as much as all containers together (cgroup v1)."""
    if (cgroups / "cpu").is_dir():
        with suppress(OSError):
            (cgroups / "cpu/docker").mkdir(exist_ok=True)
            (cgroups / "cpu/docker/cpu.shares").write_text(f"{_CONTAINERS_SHARES}\n")


def runtime_options() -> list[str]:
    """The options of dockerd that make it use RUNTIME; none where this process may lower an OOM score."""
    if _may_lower_oom_score():
        return []
    script = directory() / "runc-without-negative-oom-score"
    if not script.exists() or script.read_text() != RUNTIME:
        made = script.with_suffix(f".{os.getpid()}")  # a running engine may be starting the present one
        made.write_text(RUNTIME)
        made.chmod(0o755)
        made.replace(script)
    return ["--add-runtime", f"wrap={script}", "--default-runtime", "wrap"]


def _may_lower_oom_score() -> bool:
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return match is not None and bool(int(match[1], 16) >> _CAP_SYS_RESOURCE & 1)


def _answering(pid: int | None, within: float) -> Engine:
    deadline = monotonic() + within
    while monotonic() < deadline:
        if found := find():
            return found
        if pid is not None and gone(pid):
            break
        sleep(0.1)
    tail = LOG.read_text(errors="replace")[-2000:] if LOG.exists() else ""
    raise Unavailable("the Docker Engine did not start", hint=tail or "see journalctl -u docker")


def _builds_with_buildkit(client: Path) -> bool:
    """Clients from 18.09 to 22 contain BuildKit; later ones need the buildx plugin."""
    if _answer(client, "buildx", "version"):
        return True
    version = re.search(r"version (\d+)\.(\d+)", _answer(client, "--version"))
    return version is not None and (18, 9) <= (int(version[1]), int(version[2])) < (23, 0)


def _answer(client: Path, *arguments: str) -> str:
    done = subprocess.run([client, *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""

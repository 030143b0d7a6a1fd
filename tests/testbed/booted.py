"""A machine with systemd as process 1, in a container: a bare Debian, on which a test installs what the README says.

Its image holds the Debian packages of that, not yet installed, and the wheels of deployd's lock file: no archive and no index is
asked. The image's tag is made from all that goes into it: a changed lock file makes a new image.
"""

import hashlib
import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.bringup.images import HAPROXY, PYTHON
from deployd.bringup.packages import can_install
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed.images import BUSYBOX

_ROOT = Path(__file__).parents[2]
_NAME = "deployd-testbed/booted"
_BOOTED_WITHIN_S = 60.0

# What the README has installed; and what the tests use besides.
PACKAGES = "docker.io git make python3-venv"
_TOOLS = "systemd systemd-sysv libpam-systemd dbus curl openssl iproute2 procps sudo openssh-client openssh-server"

_DOCKERFILE = f"""FROM {PYTHON}
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends {_TOOLS} \\
    && apt-get install -qq -y --download-only {PACKAGES} \\
    && rm -f /usr/sbin/policy-rc.d && echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/quick \\
    && systemctl mask systemd-networkd-wait-online.service apt-daily.timer apt-daily-upgrade.timer
COPY requirements.lock /wheels/
RUN python3 -m pip download --quiet --require-hashes -r /wheels/requirements.lock -d /wheels
CMD ["/sbin/init"]
"""
# What systemd needs of the container. --privileged would ask for CAP_SYS_RESOURCE, which not every machine has to give.
_OPTIONS = (
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=systempaths=unconfined",
    "--device-cgroup-rule=a *:* rwm",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--volume=/var/lib/docker",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp",
    "--stop-signal=SIGRTMIN+3",
    "--stop-timeout=60",
    "--env=container=docker",
    "--tty",
    "--detach",
)
# systemd can give credentials to a service only where mounts are shared.
_INIT = "mount --make-rshared / && exec /sbin/init"


def image() -> str:
    """The name of the image for this checkout's lock file."""
    digest = hashlib.sha256(_DOCKERFILE.encode() + _wheels()).hexdigest()[:12]
    return f"{_NAME}:{digest}"


def _wheels() -> bytes:
    """What pip is to have: the lock of the daemon, and what builds its wheel."""
    builds = re.search(r"^setuptools==.*?# via", (_ROOT / "requirements.lock").read_text(), re.MULTILINE | re.DOTALL)
    assert builds is not None
    return (_ROOT / "deployd/requirements.lock").read_bytes() + builds[0].encode()


def ensure(engine: Engine, progress: Progress) -> str:
    """Make the image if it is missing; its name. Unavailable where such a container cannot be had."""
    if not can_install():
        raise Unavailable("a container with systemd needs root on Debian")
    api, name = engine.api(timeout=600), image()
    if not images.present(api, name):
        with progress.step("making a Debian with systemd as process 1"):
            images.build(api, name, _DOCKERFILE, {"requirements.lock": _wheels()})
    return name


class Booted:
    """A running one."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._environment = {**os.environ, "DOCKER_HOST": url}

    def run(self, *command: str, check: bool = True, given: str | None = None, within: float = 120) -> str:
        """What the command prints, on both channels; AssertionError when it fails."""
        done = self.try_(*command, given=given, within=within)
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def try_(self, *command: str, given: str | None = None, within: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command as root, whatever comes of it; standard output and error come together."""
        return subprocess.run(
            ["docker", "exec", "--interactive", self.name, *command],
            env=self._environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=within,
        )

    def shell(self, script: str, *, within: float = 120) -> str:
        """Run a script as root; it ends at the first command that fails."""
        return self.run("bash", "-euc", script, within=within)

    def write(self, path: str, text: str, mode: str = "0644", group: str = "root") -> None:
        """Write a file of root's."""
        self.run("install", "-D", "-m", mode, "-g", group, "/dev/stdin", path, given=text)

    def until(self, holds: Sequence[str], within: float = 30) -> None:
        """Wait until a command succeeds."""
        deadline = monotonic() + within
        while (done := self.try_(*holds)).returncode:
            assert monotonic() < deadline, f"{holds} never succeeded:\n{done.stdout}"
            sleep(0.1)

    def property(self, unit: str, name: str) -> str:
        """A property of a unit, as systemd has it."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def reboot(self) -> None:
        """Shut it down as its power button does, and boot it again."""
        for command in ("stop", "start"):
            subprocess.run(["docker", command, self.name], env=self._environment, check=True, capture_output=True)
        wait_until_it_runs(self)

    def take_images(self, *names: str) -> None:
        """Load images of the outer engine into the inner one."""
        with subprocess.Popen(["docker", "save", *names], env=self._environment, stdout=subprocess.PIPE) as saving:
            subprocess.run(
                ["docker", "exec", "--interactive", self.name, "docker", "load", "--quiet"],
                env=self._environment,
                stdin=saving.stdout,
                check=True,
                capture_output=True,
            )

    def take_checkout(self, path: str) -> None:
        """Copy the files of this checkout that git knows, as they are now."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=_ROOT,
            capture_output=True,
            check=True,
        ).stdout
        there = b"\0".join(name for name in listed.split(b"\0") if name and (_ROOT / os.fsdecode(name)).exists())
        packed = subprocess.run(
            ["tar", "--null", "--files-from=-", "--create"], cwd=_ROOT, input=there, capture_output=True, check=True
        ).stdout
        subprocess.run(
            [
                "docker",
                "exec",
                "--interactive",
                self.name,
                "bash",
                "-c",
                f"mkdir -p {path} && tar -C {path} -x --no-same-owner",
            ],
            env=self._environment,
            input=packed,
            check=True,
            capture_output=True,
        )


@contextmanager
def booted(engine: Engine, progress: Progress) -> Iterator[Booted]:
    """Boot one, and remove it at the end; Unavailable where it cannot be had."""
    name = ensure(engine, progress)
    machine = Booted(f"deployd-booted-{secrets.token_hex(4)}", engine.url)
    environment = {**os.environ, "DOCKER_HOST": engine.url}
    command = ["docker", "run", f"--name={machine.name}", *_OPTIONS, name, "sh", "-c", _INIT]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Unavailable("a container with systemd does not start", hint=done.stderr.strip())
        wait_until_it_runs(machine)
        yield machine
    finally:
        removed = ["docker", "rm", "--force", "--volumes", machine.name]
        subprocess.run(removed, env=environment, capture_output=True, check=False)


def base_images() -> tuple[str, ...]:
    """The images that deployd and its app need inside."""
    return (HAPROXY, BUSYBOX)


def pip_settings() -> str:
    """Where pip finds the wheels; no index is asked."""
    return "PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"


def wait_until_it_runs(machine: Booted) -> None:
    """Wait until all units that start at boot have; Unavailable when that never happens."""
    deadline = monotonic() + _BOOTED_WITHIN_S
    while (state := machine.try_("systemctl", "is-system-running").stdout.strip()) not in {"running", "degraded"}:
        if monotonic() > deadline:
            raise Unavailable(f"systemd in a container does not come up: {state}")
        sleep(0.2)

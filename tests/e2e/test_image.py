"""deployd from its image, run as docs/container.md says: not as root, on the host's network, with the engine's socket mounted."""

import asyncio
import importlib.metadata
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import remove
from deployd.bringup.repository import Repository
from deployd.client import Client
from deployd.status import Status
from tests.e2e.world import CONFIG, World
from tests.typed import changed, under

pytestmark = [
    pytest.mark.engine,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("the image of deployd"),
]

ROOT = Path(__file__).parents[2]
SOCKET = Path("/var/run/docker.sock")
USER = 10001
BUILD, STATE, CONFIGS, SECRET, RUN, *ASK = under("docs/container.md", "deployd in a container")
LARGEST = 250 * 1000 * 1000  # bytes: Python, git, a docker client and the daemon's libraries


class Container(DemoDaemon):
    """A daemon that runs as a container of the image; in the other tests it is a process."""

    image: str = ""
    name: str = ""

    @property
    def command(self) -> list[str]:
        """The commands of docs/container.md, with the repository mounted too, and in the foreground."""
        state = self.directory / "state"
        more = f"-v {self.remote}:{self.remote}:ro -e DEPLOYD_URL=unix://{state}/deployd.sock -e DEPLOYD_DEMO_SECRET"
        here = {
            "-d --name deployd": f"--name {self.name} --label io.deployd.instance={self.instance}",
            "/var/lib/deployd": str(state),
            "/etc/deployd:/": f"{self.directory}/etc:/",
            "-e DEPLOYD_WEBHOOK_SECRET deployd": f"-e DEPLOYD_WEBHOOK_SECRET {more} {self.image}",
        }
        return ["bash", "-euc", f"{SECRET}\nexec {changed(RUN, here)}"]

    async def start(self) -> None:
        """`docker run` in the foreground, so that its output is the daemon's log."""
        environment = os.environ | {"DEPLOYD_DEMO_SECRET": self.secret}
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*self.command, env=environment, stdout=log, stderr=log)

    async def stop(self) -> None:
        """Stop it as an operator does; `docker run` ends with the exit code of the container."""
        assert self.process is not None
        _docker("stop", "--time", "60", self.name)
        await self.process.wait()


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(docker_engine: Engine, base_images: object) -> Iterator[str]:
    """The image, built from this checkout by the classic builder."""
    name = f"deployd-test/{secrets.token_hex(4)}:latest"
    environment = os.environ | {"DOCKER_BUILDKIT": "0", "DOCKER_HOST": docker_engine.url}
    command = changed(BUILD, {"-t deployd": f"-t {name}"})
    subprocess.run(command.split(), cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    yield name
    _docker("rmi", "--force", name)


@pytest.fixture
async def inside(tmp_path: Path, image: str, docker_engine: Engine) -> AsyncIterator[World]:
    """A world whose daemon runs from the image."""
    if os.geteuid() != 0 or not docker_engine.url.endswith(str(SOCKET)):
        pytest.skip("the state directory of another user, and the usual socket: needs root and a local engine")
    for directory in (tmp_path, *list(tmp_path.parents)[:2]):
        directory.chmod(0o755)
    _make_directories(tmp_path)
    repository = Repository(tmp_path)
    repository.create()
    daemon = Container.prepare(tmp_path, repository.remote, CONFIG, app=f"iris-{secrets.token_hex(3)}")
    assert isinstance(daemon, Container)
    shutil.copy(tmp_path / "config.toml", tmp_path / "etc")
    daemon.image, daemon.name = image, f"{daemon.instance}-daemon"
    try:
        async with daemon.running(), Client(daemon.api) as client:
            yield World(repository, daemon, client)
    finally:
        print(daemon.log.read_text())
        remove(docker_engine.api(), daemon.instance)


def _make_directories(below: Path) -> None:
    for command, (place, here) in {STATE: ("/var/lib/deployd", "state"), CONFIGS: ("/etc/deployd", "etc")}.items():
        subprocess.run(changed(command, {place: str(below / here)}).split(), check=True)


def test_it_is_small_and_has_what_it_needs(image: str) -> None:
    assert int(_docker("image", "inspect", "--format", "{{.Size}}", image)) < LARGEST
    said = "id -u; git --version; git lfs version; ssh -V 2>&1; docker --version; deployd --version"
    said += "; python -c 'import apprise; print(len(apprise.Apprise().details()[\"schemas\"]))'"
    user, git, lfs, ssh, docker, deployd, services = _docker(
        "run", "--rm", "--entrypoint", "sh", image, "-c", said
    ).splitlines()
    assert user == str(USER)
    assert git.startswith("git version")
    assert lfs.startswith("git-lfs/")
    assert ssh.startswith("OpenSSH")
    assert docker.startswith("Docker version")
    assert deployd == importlib.metadata.version("deployd")
    assert int(services) > 100


def test_it_ends_when_it_is_stopped_before_it_has_started(image: str) -> None:
    name = f"deployd-test-{secrets.token_hex(4)}"
    try:
        _docker("run", "--detach", "--name", name, image)
        _docker("kill", "--signal", "TERM", name)
        assert _docker("wait", name) == "143"
    finally:
        _docker("rm", "--force", name)


async def test_a_push_goes_live_and_serves_after_the_container_is_gone(inside: World) -> None:
    deploy = await inside.ended(await inside.push())
    assert deploy.status is Status.LIVE, deploy.reason
    assert await _served(inside) == deploy.commit
    assert isinstance(inside.daemon, Container)
    _, *asks = json.loads(_docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", inside.daemon.name))
    assert _docker("exec", inside.daemon.name, *asks).splitlines()[-1].startswith("daemon")
    for ask in ASK:
        assert _docker(*changed(ask, {"docker exec deployd": f"exec {inside.daemon.name}"}).split()), ask
    owner = (inside.daemon.directory / "state" / "deployd.db").stat().st_uid
    assert owner == USER
    await inside.daemon.stop()
    assert inside.daemon.process is not None
    assert inside.daemon.process.returncode == 0
    assert await _served(inside) == deploy.commit


async def _served(world: World) -> str:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        return (await http.get(world.daemon.public_url)).raise_for_status().text

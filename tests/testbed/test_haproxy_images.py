"""HAProxy of another Debian release, as an image of the machine's own engine."""

import subprocess

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.progress import Progress
from tests.conftest import needed
from tests.testbed import haproxy_images

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_it_runs_as_the_user_of_the_official_image(docker_engine: Engine) -> None:
    name = needed(lambda: haproxy_images.ensure(docker_engine, "3.2", Progress()))
    assert "HAProxy version 3.2" in _run(docker_engine, name)
    described = docker_engine.api().get(f"/images/{name}/json")["Config"]
    assert (described["User"], described["StopSignal"], described["Entrypoint"]) == ("haproxy", "SIGUSR1", ["haproxy"])


def _run(engine: Engine, name: str) -> str:
    command = ["docker", "-H", engine.url, "run", "--rm", name, "-v"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout

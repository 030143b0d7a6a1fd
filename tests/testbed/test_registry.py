import base64
import subprocess
import sys
from http.client import HTTPConnection
from time import monotonic, sleep

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.ports import free_port
from tests.testbed.images import BUSYBOX
from tests.testbed.registry import Registry, pushed, registry

KILLED = """
import time
from tests.testbed.registry import registry
with registry() as running:
    print(running.address, flush=True)
    time.sleep(60)
"""


def status(running: Registry, path: str, **headers: str) -> int:
    connection = HTTPConnection(running.address, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.engine
def test_a_registry_answers_on_loopback_and_is_gone_afterwards() -> None:
    with registry() as running:
        assert running.address.startswith("127.0.0.1:")
        assert status(running, "/v2/") == 200
    with pytest.raises(ConnectionRefusedError):
        status(running, "/v2/")


@pytest.mark.engine
def test_a_registry_with_a_password_refuses_other_credentials(registry_with_password: Registry) -> None:
    known = base64.b64encode(f"{registry_with_password.username}:{registry_with_password.password}".encode()).decode()
    wrong = base64.b64encode(f"{registry_with_password.username}:guess".encode()).decode()
    assert status(registry_with_password, "/v2/") == 401
    assert status(registry_with_password, "/v2/", Authorization=f"Basic {wrong}") == 401
    assert status(registry_with_password, "/v2/", Authorization=f"Basic {known}") == 200


@pytest.mark.engine
def test_the_engine_pushes_to_it_over_plain_http(base_images: Engine, registry: Registry) -> None:
    assert pushed(base_images, registry, BUSYBOX) == f"{registry.address}/testbed/busybox:pushed"
    assert status(registry, "/v2/testbed/busybox/manifests/pushed") == 200


@pytest.mark.engine
def test_the_environment_of_the_caller_does_not_change_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("REGISTRY_HTTP_ADDR", elsewhere)
    with registry() as running:
        assert running.address != elsewhere
        assert status(running, "/v2/") == 200


@pytest.mark.engine
def test_a_killed_test_run_leaves_no_registry() -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        left = Registry(run.stdout.readline().strip())
        assert status(left, "/v2/") == 200
        run.kill()
    deadline = monotonic() + 20
    while monotonic() < deadline:
        try:
            status(left, "/v2/")
        except OSError:
            return
        sleep(0.05)
    pytest.fail(f"still answers at {left.address}")

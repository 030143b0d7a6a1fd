"""One machine with systemd for all tests here: deployd is installed as the README says, and one release serves."""

from collections.abc import Iterator

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.progress import Progress
from tests.booted.host import Host
from tests.conftest import needed
from tests.testbed.booted import Booted, booted


@pytest.fixture(scope="session")
def machine(base_images: Engine) -> Iterator[Booted]:
    """A machine that has booted."""
    bringing_up = booted(base_images, Progress())
    yield needed(bringing_up.__enter__)
    bringing_up.__exit__(None, None, None)


@pytest.fixture(scope="session")
def installed(machine: Booted) -> Host:
    """deployd on it, with a private repository of which it may read all by a deploy key; the first release serves."""
    host = Host(machine)
    host.install()
    return host


@pytest.fixture
def host(installed: Host) -> Iterator[Host]:
    """The same, put in order again after each test that breaks something."""
    yield installed
    installed.mend()

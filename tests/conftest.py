"""The real engines for any test that asks (`engine`, `base_images`, `registry`, `cluster`), and the hunt for what is left behind.

Where a machine cannot have one, the test is skipped with what is missing; with CI=true every skip is a failure.
"""

import gc
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar
from zlib import crc32

import pytest

# The tests run side by side: threads of OpenMP and of a BLAS that wait for each other would spin, and take the others' time.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

if "PYTEST_XDIST_WORKER" in os.environ:  # who only hands out the tests does without it, and begins sooner
    import skops.io  # noqa: F401 - it looks through every module that is loaded before it: here they are few

from hypothesis import HealthCheck, settings

from deployd.bringup import engine as engines
from deployd.bringup.cache import locked
from deployd.bringup.leftovers import Leftover, leftovers, remove
from deployd.bringup.packages import can_install
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests import report
from tests.testbed import browser, images
from tests.testbed import cluster as clusters
from tests.testbed.cluster import Cluster
from tests.testbed.mlflow_server import MLflow
from tests.testbed.mlflow_server import mlflow as run_mlflow
from tests.testbed.registry import Registry
from tests.testbed.registry import registry as run_registry
from tests.testbed.strays import strays

T = TypeVar("T")
ROOT = Path(__file__).parents[1]

# A busy machine is no counterexample.
settings.register_profile("deployd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("deployd")


def pytest_configure(config: pytest.Config) -> None:
    """Let every run say what it proved."""
    gc.disable()  # until all tests are collected: it would look through the libraries again and again
    config.pluginmanager.register(report)
    # What a test runs as `python3` is this environment's, without the detour of a version switcher.
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # A shell's background job ignores SIGINT, and so would every process that a test starts and interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the tests of the cluster, which mostly wait, between the others; of the others, those that take long begin first."""
    kinds: dict[bool, list[pytest.Item]] = {True: [], False: []}
    for item in items:
        kinds[item.get_closest_marker("cluster") is not None].append(item)
    kinds[True].sort(key=lambda item: crc32(item.nodeid.encode()))  # those of one file take about as long
    kinds[False].sort(key=lambda item: not item.get_closest_marker("slow"))
    places = {item: place / len(kind) for kind in kinds.values() for place, item in enumerate(kind)}
    items.sort(key=places.__getitem__)


def pytest_collection_finish() -> None:
    """What is loaded stays: the collector need not look through it at each test."""
    gc.collect()
    gc.freeze()
    gc.enable()


@dataclass
class Leaks:
    """What a test's instance may leave on the engine; whatever else carries its label at the end fails the test."""

    instance: str
    engine: engines.Engine
    expected: list[str] = field(default_factory=list)

    def expect(self, *patterns: str) -> None:
        """Say what may be there at the end: `container deployd-iris-2`, `image deployd/iris:*`."""
        self.expected.extend(patterns)

    def present(self) -> list[str]:
        """What is there now, as `kind name`."""
        return [str(thing) for thing in leftovers(self.engine.api(), self.instance)]

    def unexpected(self, found: list[Leftover]) -> list[str]:
        """What of `found` nobody said would be there."""
        return [str(thing) for thing in found if not any(fnmatch(str(thing), pattern) for pattern in self.expected)]


@pytest.fixture(scope="session")
def docker_engine() -> engines.Engine:
    """A running Docker Engine, with its version and a blocking API."""
    return needed(lambda: engines.ensure(Progress()))


@pytest.fixture(scope="session")
def engine(docker_engine: engines.Engine) -> str:
    """The URL of a running Docker Engine, as aiodocker and DOCKER_HOST take it."""
    return docker_engine.url


@pytest.fixture(scope="session")
def base_images(docker_engine: engines.Engine) -> engines.Engine:
    """An engine that has the images which the Dockerfiles, the gateway and the tests name."""

    def made() -> engines.Engine:
        images.ensure(docker_engine, Progress())
        return docker_engine

    return needed(made)


@pytest.fixture(scope="session")
def training_layers(base_images: engines.Engine) -> None:
    """The layers of the Dockerfile in which pip installs and the model is trained are in the engine's cache: half a minute of
    each build. A named image keeps them from the clean-up of other tests."""
    if base_images.product == "Podman":  # which builds it without cache
        return
    command = ["docker", "build", "--quiet", "--target=build", "--tag=deployd-testbed/model-service", "."]
    environment = os.environ | {"DOCKER_HOST": base_images.url, "DOCKER_BUILDKIT": "0"}
    with locked("training-layers"):
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """A Chromium, for the tests that look at the pages."""
    return needed(lambda: browser.chromium(Progress()))


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry without credentials, for the whole session: the one DEPLOYD_TEST_REGISTRY names, or one on loopback."""
    if named := os.environ.get("DEPLOYD_TEST_REGISTRY"):
        yield Registry(named)
    else:
        yield from _registry(authenticated=False)


@pytest.fixture(scope="session")
def registry_with_password() -> Iterator[Registry]:
    """A registry that asks for a user and a password, for the whole session."""
    yield from _registry(authenticated=True)


@pytest.fixture(scope="session")
def mlflow() -> Iterator[MLflow]:
    """A real MLflow server, for the whole session: a test registers models under names of its own."""
    with ExitStack() as stack:
        yield needed(lambda: stack.enter_context(run_mlflow()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real Kubernetes cluster: the one DEPLOYD_TEST_KUBECONFIG names, or the testbed's, once that has been built."""

    def answering() -> Cluster:
        if can_install() and not clusters.available():
            raise Unavailable(
                "Kubernetes is not built yet", hint="python -m tests.testbed cluster builds it, once a machine"
            )
        return clusters.cluster(Progress())

    found = needed(answering)
    yield found
    found.close()


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own, which goes with all in it when the test ends; what belongs to nothing there fails it."""
    with cluster.namespace() as name:
        yield name
        if found := strays(cluster, name):
            pytest.fail(f"left behind in the cluster: {', '.join(found)}", pytrace=False)


@pytest.fixture
def instance(docker_engine: engines.Engine) -> Iterator[str]:
    """A name for `io.deployd.instance`; what carries it on the engine goes when the test ends."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    remove(docker_engine.api(), name)


@pytest.fixture
def leaks(docker_engine: engines.Engine, instance: str) -> Iterator[Leaks]:
    """Fails the test when its `instance` left anything on the engine that was not expected."""
    watch = Leaks(instance, docker_engine)
    yield watch
    if unexpected := watch.unexpected(remove(docker_engine.api(), instance)):
        pytest.fail(f"left behind: {', '.join(unexpected)}", pytrace=False)


def _registry(*, authenticated: bool) -> Iterator[Registry]:
    with ExitStack() as stack:
        yield needed(lambda: stack.enter_context(run_registry(authenticated=authenticated)))


def needed(bring_up: Callable[[], T]) -> T:
    """What `bring_up` gives; where the machine cannot have it, the test is skipped."""
    try:
        return bring_up()
    except Unavailable as exc:
        pytest.skip(f"{exc.message} ({exc.hint})" if exc.hint else exc.message)

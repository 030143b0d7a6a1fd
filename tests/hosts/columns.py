"""The columns of docs/hosts.md: engines, each with the HAProxy of its Debian release, and the cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from deployd.bringup import engine as own
from deployd.bringup import images as base_images
from deployd.bringup.engine import Engine
from deployd.bringup.progress import Progress
from deployd.check.builder import NO_BUILDKIT, UNSTOPPABLE
from deployd.check.podman import NO_NETWORK
from tests.hosts.features import BUILDKIT_BUILDS, RESTARTED, STOPPED_BUILDS, Feature
from tests.hosts.matrix import CLUSTERS, ENGINES, Table
from tests.testbed import cluster as clusters
from tests.testbed import engines, images, podman
from tests.testbed.engines import OtherEngine, Release

_NOT_INHERITED = ("DOCKER_", "PYTEST_")


@dataclass(frozen=True, slots=True)
class Host:
    """An engine or a cluster that runs: what it is, and how a test runs on it."""

    title: str
    url: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    within: tuple[str, ...] = ()
    minor: str = ""
    """A cluster's minor version: each has a column of its own."""

    def pytest(self, options: Sequence[str]) -> int:
        """Run tests where its containers answer; pytest's exit code."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
        command = [*self.within, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
        return subprocess.run(command, env=inherited | dict(self.environment), check=False).returncode


@dataclass(frozen=True, slots=True)
class Column:
    """What to try by name, how it is brought up, and what cannot be tried on it. `engine` is its name in the test bed."""

    name: str
    engine: str
    bring_up: Callable[[Progress], Host]
    not_here: Mapping[Feature, str] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    """The tests of promises that it cannot keep, each with the line of `deployd check` that tells so."""
    table: Table = ENGINES


def other(engine: OtherEngine, kind: str, store: Sequence[str] = ()) -> Host:
    """One of the test bed's other engines."""
    version = str(engine.api().get("/version")["Version"]).partition("+")[0]
    title = f"{kind} {version}, HAProxy {engine.root.version('haproxy')}"
    # A test that kills an engine starts one of the same release, in the same root.
    spare = {"DEPLOYD_TEST_INSIDE": " ".join(engine.inside), "DEPLOYD_TEST_DOCKERD": " ".join(store)}
    return Host(title, engine.url, engine.environment | spare, tuple(engine.command()))


def released(release: Release, progress: Progress) -> Host:
    """A Docker Engine of that release."""
    options, environment = engines.differences(release)
    host = other(engines.ensure(release, progress), "Docker", options)
    title = host.title.replace(",", " as 29,") if release == TODAYS else host.title
    return Host(title, host.url, {**host.environment, **environment}, host.within)


def _mine(progress: Progress) -> Host:
    engine = own.ensure(progress)
    images.ensure(engine, progress)
    return Host(f"Docker {engine.version.partition('+')[0]}, HAProxy {_haproxy(engine)}", engine.url)


def _podman(progress: Progress) -> Host:
    return other(podman.ensure(progress), "Podman")


def _kubernetes(progress: Progress) -> Host:
    """The cluster that DEPLOYD_TEST_KUBECONFIG names, or the test bed's."""
    answer = json.loads(clusters.cluster(progress).kubectl("get", "--raw=/version"))
    version = answer["gitVersion"].removeprefix("v")
    return Host(f"Kubernetes {version}", minor=".".join(version.split(".")[:2]))


def _haproxy(engine: Engine) -> str:
    """The version of HAProxy in the image that the gateway runs."""
    command = ["docker", "-H", engine.url, "run", "--rm", "--entrypoint=haproxy", base_images.HAPROXY, "-v"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2].partition("-")[0]


TODAYS = Release("28", containerd_store=True, min_api="1.44")
"""As near to Engine 29 as Debian's packages come: its default image store, and it refuses the clients that Engine 29 refuses."""

# They build with BuildKit first.
_IMAGES_OF_BUILDKIT = (
    "test_a_name_that_a_person_gave_stays",
    "test_a_rebuild_of_a_commit_overwrites_nothing_and_leaves_no_unnamed_image_of_ours",
    "test_an_image_goes_by_its_own_name",
    "test_an_image_of_a_build_that_was_cut_short_goes_by_its_name",
    "test_an_image_that_a_person_uses_stays_whole",
    "test_our_name_on_the_image_of_somebody_else_stays",
    "test_what_a_person_built_on_an_image_stays",
)

COLUMNS = (
    Column("own", "", _mine),
    *(
        Column(name, release.name, partial(released, release))
        for name, release in {"26": Release("26"), "28": Release("28"), "29-like": TODAYS}.items()
    ),
    Column(
        "podman",
        "podman",
        _podman,
        {
            BUILDKIT_BUILDS: f"check refuses it: {NO_BUILDKIT}",
            STOPPED_BUILDS: f"told by check: {UNSTOPPABLE}",
            RESTARTED: "Podman's containers run without an engine that could restart",
        },
        {
            "tests/targets/docker/test_faults.py::test_a_release_whose_container_is_gone_is_restored_from_its_image": NO_NETWORK,
            **{f"tests/contract/test_images.py::{test}[buildkit]": NO_BUILDKIT for test in _IMAGES_OF_BUILDKIT},
        },
    ),
    Column("kubernetes", "", _kubernetes, table=CLUSTERS),
)

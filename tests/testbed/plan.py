"""What bringing up the test bed will take on this machine, told before anything is done. Figures are of two free cores."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from deployd.bringup import engine as engines
from deployd.bringup import images as base_images
from deployd.bringup.packages import can_install
from tests.testbed import booted, browser, cluster, kubernetes_binaries, mlflow_server, roots
from tests.testbed.images import BUSYBOX, PAUSE


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do, and about how many seconds it takes."""

    what: str
    seconds: int

    def __str__(self) -> str:
        if self.seconds >= 60:
            return f"{self.what}: about {round(self.seconds / 60)} min"
        return f"{self.what}: about {self.seconds} s" if self.seconds else self.what


def tasks() -> Iterator[Task]:
    """What is missing here, in the order in which it is brought up."""
    engine = engines.find()
    if engine is None and not can_install():
        yield Task("no Docker Engine answers, and none can be installed here: its tests are skipped", 0)
        return
    if engine is None:
        yield Task("install docker.io by apt and start the Docker Engine", 20)
    wanted = (base_images.PYTHON, base_images.HAPROXY, BUSYBOX, PAUSE)
    if engine is None or not all(base_images.present(engine.api(), name) for name in wanted):
        yield Task("pull the base images or, where no registry answers, make them of Debian's packages", 90)
    if can_install() and (engine is None or not base_images.present(engine.api(), booted.image())):
        yield Task("make a Debian with systemd as process 1, of Debian's packages", 75)
    if not mlflow_server.made():
        yield Task("make a Python environment with MLflow", 60)
    if can_install() and not roots.made("sid"):
        yield Task("make a Debian sid with today's Docker Engine, once a machine", 100)
    if can_install() and browser.found() is None:
        yield Task("install chromium by apt", 30)
    yield from _cluster()


def _cluster() -> Iterator[Task]:
    if os.environ.get("DEPLOYD_TEST_KUBECONFIG"):
        return
    if not can_install():
        yield Task("DEPLOYD_TEST_KUBECONFIG names no Kubernetes cluster: its tests are skipped", 0)
        return
    if kubernetes_binaries.built() is None:
        yield Task(f"build Kubernetes {kubernetes_binaries.VERSION} from Debian's source, once a machine", 360)
    if not cluster.runs():
        yield Task("start Kubernetes", 20)

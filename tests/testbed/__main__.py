"""`python -m tests.testbed [PART|all]` brings up what the tests need, or one part of it; `stop` ends the cluster.

A part that this machine cannot run is reported with the reason. The exit code is still 0, since the tests then skip.
"""

import argparse
from collections.abc import Callable, Iterable

from deployd.bringup import engine
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed import booted, github_description, images, mlflow_server, payloads
from tests.testbed.browser import chromium
from tests.testbed.cluster import cluster, stop
from tests.testbed.programs import program, unpacked
from tests.testbed.registry import registry


def main() -> None:
    """Bring up the parts that the command line names, each with those that it needs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.testbed", description="Bring up the real engines of the tests."
    )
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all", "stop"])
    part = parser.parse_args().part
    progress = Progress()
    if part == "stop":
        progress.say("cluster: ended" if stop() else "cluster: there is none")
    else:
        bring_up(PARTS if part == "all" else [part], progress)


def bring_up(names: Iterable[str], progress: Progress) -> None:
    """Bring up these parts; what cannot be had is told."""
    for name in names:
        try:
            progress.say(f"{name}: {PARTS[name](progress)}")
        except Unavailable as exc:
            progress.say(f"{name}: not here: {exc.message}" + (f" ({exc.hint})" if exc.hint else ""))


def _engine(progress: Progress) -> str:
    found = engine.ensure(progress)
    client = engine.buildkit_client()
    return f"Docker {found.version} at {found.url}, BuildKit " + (f"through {client}" if client else "without a client")


def _images(progress: Progress) -> str:
    images.ensure(engine.ensure(progress), progress)
    return "ready"


def _registry(_: Progress) -> str:
    with registry() as running:
        return f"starts (just now at {running.address}); each test session runs its own"


def _payloads(progress: Progress) -> str:
    payloads.ensure(progress)
    github_description.ensure(progress)
    return f"{payloads.PACKAGE} and {github_description.PACKAGE} are in the cache"


def _programs(_: Progress) -> str:
    found = [program("git-lfs", "git-lfs"), program("sshd", "openssh-server"), unpacked("libfaketime")]
    return ", ".join(path.name for path in found)


def _mlflow(progress: Progress) -> str:
    return f"{mlflow_server.environment(progress)} has MLflow; each test session runs its own server"


def _browser(progress: Progress) -> str:
    return str(chromium(progress))


def _cluster(progress: Progress) -> str:
    found = cluster(progress)
    return f"Kubernetes answers, kubeconfig {found.kubeconfig}"


def _systemd(progress: Progress) -> str:
    found = engine.ensure(progress)
    images.ensure(found, progress)
    return f"{booted.ensure(found, progress)} boots; each test session boots its own"


PARTS: dict[str, Callable[[Progress], str]] = {
    "engine": _engine,
    "images": _images,
    "registry": _registry,
    "payloads": _payloads,
    "programs": _programs,
    "mlflow": _mlflow,
    "browser": _browser,
    "systemd": _systemd,
    "cluster": _cluster,
}


if __name__ == "__main__":
    main()

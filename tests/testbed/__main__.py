"""`python -m tests.testbed [PART|all]` brings up what the tests need, or one part of it; `stop` ends what keeps running.

`engine --release 28`, `podman` and `haproxy 3.2` bring up what other hosts run, beside the machine's own engine. A part that
this machine cannot run is reported with the reason. The exit code is still 0, since the tests then skip.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from deployd.bringup import engine
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed import (
    booted,
    engines,
    github_description,
    haproxy_images,
    images,
    mlflow_server,
    payloads,
    podman,
    roots,
)
from tests.testbed.browser import chromium
from tests.testbed.cluster import cluster, stop
from tests.testbed.engines import Release
from tests.testbed.programs import program, unpacked
from tests.testbed.registry import registry


def main() -> None:
    """Bring up the parts that the command line names, each with those that it needs."""
    asked, progress = _arguments(), Progress()
    if asked.part == "stop":
        _stop(asked.names, progress)
    elif asked.part == "engine" and asked.release:
        release = Release(asked.release, asked.containerd_store, asked.min_api)
        bring_up(["engine"], progress, {"engine": partial(_other_engine, release)})
    elif asked.part == "haproxy":
        bring_up(["haproxy"], progress, {"haproxy": partial(_haproxy, asked.release)})
    else:
        bring_up(PARTS if asked.part in {None, "all"} else [asked.part], progress, PARTS | {"podman": _podman})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.testbed", description="Bring up the real engines of the tests."
    )
    parts = parser.add_subparsers(dest="part", metavar="PART")
    parts.add_parser("all", help="everything that `make test` uses (default)")
    for name in PARTS:
        if name != "engine":
            parts.add_parser(name, help="this part of `all`")
    engine = parts.add_parser("engine", help="the machine's own Docker Engine, or one of another release beside it")
    engine.add_argument("--release", choices=sorted(engines.SUITES))
    engine.add_argument("--containerd-store", action="store_true", help="keep images as new Engine 29 installations do")
    engine.add_argument(
        "--min-api", default="", metavar="1.44", help="refuse clients with an older API, as Engine 29 does"
    )
    parts.add_parser("podman", help="Podman's service, beside the machine's own engine")
    haproxy = parts.add_parser("haproxy", help="an image of another HAProxy, on the machine's own engine")
    haproxy.add_argument("release", choices=sorted(haproxy_images.SUITES))
    stopped = parts.add_parser("stop", help="end the cluster and the other engines, or those that are named")
    stopped.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args()
    if asked.part == "engine" and not asked.release and (asked.containerd_store or asked.min_api):
        parser.error("--containerd-store and --min-api need a --release")
    return asked


def bring_up(names: Iterable[str], progress: Progress, parts: Mapping[str, Callable[[Progress], str]]) -> None:
    """Bring up those of the `parts` that are named; what cannot be had is told."""
    for name in names:
        try:
            progress.say(f"{name}: {parts[name](progress)}")
        except Unavailable as exc:
            progress.say(f"{name}: not here: {exc.message}" + (f" ({exc.hint})" if exc.hint else ""))


def _engine(progress: Progress) -> str:
    found = engine.ensure(progress)
    client = engine.buildkit_client()
    return f"Docker {found.version} at {found.url}, BuildKit " + (f"through {client}" if client else "without a client")


def _images(progress: Progress) -> str:
    found = engine.ensure(progress)
    images.forget_old(found.api(timeout=600))
    images.ensure(found, progress)
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


def _other_engine(release: Release, progress: Progress) -> str:
    return engines.ensure(release, progress).usage()


def _sid(progress: Progress) -> str:
    made = roots.root("sid", progress)
    return f"Docker {made.version('docker.io')} can run beside the machine's own engine"


def _podman(progress: Progress) -> str:
    return podman.ensure(progress).usage()


def _haproxy(release: str, progress: Progress) -> str:
    name = haproxy_images.ensure(engine.ensure(progress), release, progress)
    return f'{name} is there; a daemon runs it with image = "{name}" in [gateway] of its config'


def _stop(names: Iterable[str], progress: Progress) -> None:
    """End the named engines and, as "cluster", the cluster; without names, all of them."""
    for name in names or ["cluster", *engines.known()]:
        ended = stop() if name == "cluster" else engines.stop(name)
        progress.say(f"{name}: ended" if ended else f"{name}: there is none")


PARTS: dict[str, Callable[[Progress], str]] = {
    "engine": _engine,
    "images": _images,
    "registry": _registry,
    "payloads": _payloads,
    "programs": _programs,
    "mlflow": _mlflow,
    "browser": _browser,
    "systemd": _systemd,
    "sid": _sid,
    "cluster": _cluster,
}


if __name__ == "__main__":
    main()

"""Podman's service, which speaks the Docker Engine's API: beside the machine's own engine, like the other engines."""

from deployd.bringup.cache import locked
from deployd.bringup.progress import Progress
from tests.testbed.engines import OtherEngine
from tests.testbed.roots import root

_SUITE = "sid"
_SETTINGS = """[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
[network]
default_subnet = "10.215.0.0/24"
default_subnet_pools = [{ base = "10.215.128.0/17", size = 24 }]
"""


def ensure(progress: Progress) -> OtherEngine:
    """Bring it up, with the base images; Unavailable, with the reason, where that is not possible."""
    engine = OtherEngine("podman", root(_SUITE, progress))
    with locked("engine-podman"):
        if engine.pid is None or not engine.api().ping():
            state = engine.directory
            state.mkdir(parents=True, exist_ok=True)
            (state / "containers.conf").write_text(_SETTINGS)
            storage = [f"--root={state / 'data'}", "--runroot=/run/containers/storage", f"--tmpdir={state / 'run'}"]
            command = ["/usr/bin/podman", *storage, "system", "service", "--time=0", engine.url]
            with progress.step(f"starting Podman {engine.root.version('podman')}"):
                engine.start(command, {"CONTAINERS_CONF": str(state / "containers.conf")})
        engine.take_images(progress)
    return engine

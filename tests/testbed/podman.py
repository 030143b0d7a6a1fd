"""Podman's service, which speaks the Docker Engine's API: beside the machine's own engine, like the other engines."""

from pathlib import Path

from deployd.bringup.cache import locked
from deployd.bringup.progress import Progress
from tests.testbed.engines import OtherEngine
from tests.testbed.roots import root

_SUITE = "sid"
_SETTINGS = """[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]  # higher ones need CAP_SYS_RESOURCE
[network]
default_subnet = "10.215.0.0/24"
default_subnet_pools = [{ base = "10.215.128.0/17", size = 24 }]
"""
# As a Docker Engine does: registries on loopback may have no TLS.
_REGISTRIES = """[[registry]]
prefix = "127.0.0.1"
location = "127.0.0.1"
insecure = true
"""


def ensure(progress: Progress) -> OtherEngine:
    """Bring it up, with the base images; Unavailable, with the reason, where that is not possible."""
    engine = OtherEngine("podman", root(_SUITE, progress))
    with locked("engine-podman"):
        if engine.pid is None or not engine.api().ping():
            state = engine.directory
            state.mkdir(parents=True, exist_ok=True)
            files = {"CONTAINERS_CONF": _SETTINGS, "CONTAINERS_REGISTRIES_CONF": _REGISTRIES}
            environment = {name: str(state / name.lower().replace("_", ".")) for name in files}
            for name, text in files.items():
                Path(environment[name]).write_text(text)
            storage = [f"--root={state / 'data'}", "--runroot=/run/containers/storage", f"--tmpdir={state / 'run'}"]
            command = ["/usr/bin/podman", *storage, "system", "service", "--time=0", engine.url]
            with progress.step(f"starting Podman {engine.root.version('podman')}"):
                engine.start(command, environment)
        engine.take_images(progress)
    return engine

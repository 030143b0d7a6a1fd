"""The images that only tests use: a tiny one whose candidates start at once, and the one that holds a pod's network.

Made of Debian's static busybox from scratch or, where that cannot be installed, of the official busybox.
"""

from pathlib import Path
from urllib.parse import quote

from deployd.bringup import images
from deployd.bringup.api import EngineApi
from deployd.bringup.cache import locked
from deployd.bringup.engine import Engine
from deployd.bringup.packages import can_install, ensure_packages
from deployd.bringup.progress import Progress

BUSYBOX = "deployd-testbed/busybox:latest"
PAUSE = "deployd-testbed/pause:latest"

_BUSYBOX = """FROM scratch
COPY root /
ENV PATH=/bin
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN mkdir -m 1777 /tmp
CMD ["sh"]
"""
# As process 1 it has no default action on SIGTERM; without the trap every pod would take ten seconds to go.
_PAUSE = f"""FROM {BUSYBOX}
CMD ["sh", "-c", "trap exit TERM INT; while :; do sleep 3600 & wait $!; done"]
"""


def ensure(engine: Engine, progress: Progress) -> None:
    """The base images, BUSYBOX and PAUSE are there afterwards; raises Unavailable where they can be neither pulled nor made."""
    images.ensure(engine, progress)
    api = engine.api(timeout=120)
    if images.present(api, BUSYBOX) and images.present(api, PAUSE):
        return
    with locked("images"):
        if can_install():
            _make_busybox(api, progress)
        else:
            images.pull(engine.url, "busybox:stable", progress)
            repository, _, tag = BUSYBOX.partition(":")
            api.post(f"/images/busybox:stable/tag?repo={quote(repository)}&tag={tag}")
        images.build(api, PAUSE, _PAUSE, {})


def _make_busybox(api: EngineApi, progress: Progress) -> None:
    ensure_packages("busybox-static", progress=progress)
    program = Path("/bin/busybox").read_bytes()
    files = {"root/bin/busybox": program, "root/etc/passwd": b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:\n"}
    with progress.step(f"making {BUSYBOX}"):
        images.build(api, BUSYBOX, _BUSYBOX, files)

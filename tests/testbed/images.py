"""The images that only tests use: a tiny one that starts at once, and the pause image, which holds the network of a pod.

Made from Debian's static busybox or, where that cannot be installed, from the official busybox image.
"""

import json
from pathlib import Path
from urllib.parse import quote

from deployd.bringup import images
from deployd.bringup.api import EngineApi
from deployd.bringup.cache import locked
from deployd.bringup.engine import LABEL, Engine
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
# Process 1 ignores SIGTERM by default; without the trap, every pod would take ten seconds to end.
_PAUSE = f"""FROM {BUSYBOX}
CMD ["sh", "-c", "trap exit TERM INT; while :; do sleep 3600 & wait $!; done"]
"""


def ensure(engine: Engine, progress: Progress) -> None:
    """Pull or make the base images, BUSYBOX and PAUSE if they are missing; Unavailable when neither is possible."""
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


def forget_old(api: EngineApi) -> None:
    """Remove the nameless images and the unused networks that earlier runs left, from an engine that was started for them alone.

    With a thousand images, a list of them takes an engine a tenth of a second of a core, and it is asked for thousands of
    them. It has addresses for some thirty networks. The images of the last hour stay: a build may be making them.
    """
    if LABEL in (api.get("/info").get("Labels") or []):
        for what, which in (("images", {"dangling": ["true"]}), ("networks", {})):
            api.post(f"/{what}/prune?filters={quote(json.dumps({**which, 'until': ['1h']}))}")


def _make_busybox(api: EngineApi, progress: Progress) -> None:
    ensure_packages("busybox-static", progress=progress)
    program = Path("/bin/busybox").read_bytes()
    files = {"root/bin/busybox": program, "root/etc/passwd": b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534::/:\n"}
    with progress.step(f"making {BUSYBOX}"):
        images.build(api, BUSYBOX, _BUSYBOX, files)

"""HAProxy images of Debian's releases, without a package manager: the program, its libraries, and its user.

They behave like the official image: entry point, user, group, stop signal, work directory.
"""

import io
import subprocess
import tarfile

from deployd.bringup import images
from deployd.bringup.api import EngineApi
from deployd.bringup.engine import Engine
from deployd.bringup.progress import Progress
from tests.testbed.roots import Root, root

SUITES = {"3.0": "trixie", "3.2": "sid"}
_PROGRAM = "/usr/sbin/haproxy"
_FILES = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nhaproxy:x:99:99::/var/lib/haproxy:/usr/sbin/nologin\n",
    "etc/group": b"root:x:0:\nhaproxy:x:99:\n",
}
_DIRECTORIES = (("var/lib/haproxy", 0o755, 99), ("usr/local/etc/haproxy", 0o755, 99), ("tmp", 0o1777, 0))
_DOCKERFILE = """FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER haproxy
WORKDIR /var/lib/haproxy
STOPSIGNAL SIGUSR1
ENTRYPOINT ["haproxy"]
CMD ["-f", "/usr/local/etc/haproxy/haproxy.cfg"]
"""


def ensure(engine: Engine, release: str, progress: Progress) -> str:
    """Make the image of that HAProxy if it is missing; its name: `haproxy:3.2`."""
    name = f"haproxy:{release}"
    if not images.present(engine.api(), name):
        made_of = root(SUITES[release], progress)
        with progress.step(f"making {name} of HAProxy {made_of.version('haproxy')}"):
            make(engine.api(timeout=120), made_of, name)
    return name


def make(api: EngineApi, root: Root, name: str) -> None:
    """Make the image `name` on an engine, of the HAProxy in `root`."""
    images.build(api, name, _DOCKERFILE, {"root.tar": _packed(root)})


def _packed(root: Root) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as archive:
        for path in (_PROGRAM, *_libraries(root)):
            archive.add(f"{root.path}{path}", path)
        for path, content in _FILES.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for path, mode, owner in _DIRECTORIES:
            entry = tarfile.TarInfo(path)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
            archive.addfile(entry)
    return buffer.getvalue()


def _libraries(root: Root) -> list[str]:
    """What the program loads, and the loader itself, as paths inside the root."""
    command = [str(root.loader()), "--library-path", str(root.libraries()), "--list", f"{root.path}{_PROGRAM}"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # "libm.so.6 => /root/of/it/usr/lib/x/libm.so.6 (0x7f)"; the loader stands where the program asks for it.
    found = [line.split() for line in listed.splitlines() if "=>" in line]
    return [words[0] if words[0].startswith("/") else words[2].removeprefix(str(root.path)) for words in found]

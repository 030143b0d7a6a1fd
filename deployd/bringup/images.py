"""The base images that the Dockerfiles and the gateway use: pulled or, where no registry answers, stand-ins made from Debian.

A stand-in has the name of the official image and behaves like it (user, entry point, `python`, and a `pip` that installs), so
that one Dockerfile works with both. It also contains this host's certificates and pip settings.
"""

import io
import tarfile
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from deployd.bringup import host
from deployd.bringup.api import EngineApi
from deployd.bringup.cache import locked
from deployd.bringup.engine import Engine
from deployd.bringup.packages import can_install
from deployd.bringup.progress import Progress
from deployd.bringup.root import debian_root
from deployd.errors import Unavailable

PYTHON = "python:3.11-slim-bookworm"
HAPROXY = "haproxy:lts"
_FIRST_ANSWER_S = 10

_PYTHON_STAND_IN = f"""COPY host /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \\
    PIP_CERT={host.BUNDLE} SSL_CERT_FILE={host.BUNDLE} PIP_ROOT_USER_ACTION=ignore
RUN ln -s /usr/bin/python3 /usr/local/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED \\
    && printf 'Dir::Cache::%scache "";\\n' pkg srcpkg > /etc/apt/apt.conf.d/docker-clean
CMD ["python3"]
"""

_HAPROXY_STAND_IN = f"""FROM {PYTHON}
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/* \\
    && groupmod --gid 99 haproxy && usermod --uid 99 --gid 99 haproxy \\
    && mkdir -p /usr/local/etc/haproxy && chown -R haproxy:haproxy /var/lib/haproxy
COPY docker-entrypoint.sh /usr/local/bin/
USER haproxy
WORKDIR /var/lib/haproxy
STOPSIGNAL SIGUSR1
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["haproxy", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
"""

_HAPROXY_ENTRYPOINT = b"""#!/bin/sh
set -e
case ${1:-} in -*) set -- haproxy "$@" ;; esac
if [ "${1:-}" = haproxy ]; then
    shift
    set -- haproxy -W -db "$@"
fi
exec "$@"
"""


def ensure(engine: Engine, progress: Progress | None = None) -> None:
    """Pull or make PYTHON and HAPROXY if they are missing; Unavailable, with a hint, when neither is possible."""
    api = engine.api(timeout=600)
    missing = [name for name in (PYTHON, HAPROXY) if not present(api, name)]
    if not missing:
        return
    progress = progress or Progress()
    with locked("images"):
        for name in missing:
            _ensure_one(api, name, progress)


def present(api: EngineApi, name: str) -> bool:
    """Whether the engine has the image `name`."""
    return api.get(f"/images/{name}/json") is not None


def pull(engine_url: str, name: str, progress: Progress) -> None:
    """Pull `name`; Unavailable within seconds when no registry answers."""
    repository, tag = _parts(name)
    api = EngineApi(engine_url, timeout=_FIRST_ANSWER_S)
    layers: dict[str, tuple[int, int]] = {}
    with progress.step(f"pulling {name}") as step:
        for message in api.stream(f"/images/create?fromImage={quote(repository)}&tag={tag}"):
            detail = message.get("progressDetail") or {}
            if message.get("status") == "Downloading" and "total" in detail:
                layers[message["id"]] = (detail["current"], detail["total"])
                step.reach(sum(done for done, _ in layers.values()), sum(total for _, total in layers.values()))


def import_root(api: EngineApi, archive: Path, name: str) -> None:
    """Make an image of one layer from the tar of a root file system."""
    repository, tag = _parts(name)
    with archive.open("rb") as body:
        for _ in api.stream(f"/images/create?fromSrc=-&repo={quote(repository)}&tag={tag}", body):
            pass


def build(api: EngineApi, name: str, dockerfile: str, files: Mapping[str, bytes]) -> None:
    """Build an image by the classic builder from `dockerfile` and a context of `files` (path -> content)."""
    context = context_of({"Dockerfile": dockerfile.encode()} | dict(files))
    output: deque[str] = deque(maxlen=40)
    try:
        for message in api.stream(f"/build?t={quote(name)}&rm=1&forcerm=1", context):
            output.append(message.get("stream", ""))
    except Unavailable as exc:
        raise Unavailable(f"{name} does not build: {exc.message}", hint="".join(output).strip()) from exc


def context_of(files: Mapping[str, bytes]) -> bytes:
    """`files` (path -> content) as a tar; everyone may read and execute every file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def make_python(api: EngineApi, name: str, suite: str, progress: Progress) -> None:
    """Make the image `name` from the Python of Debian `suite`; needs root on Debian."""
    archive, debian = debian_root(suite, progress), f"deployd-testbed/debian:{suite}"
    with progress.step(f"making {name} from Debian's Python"):
        import_root(api, archive, debian)
        files = {f"host{path}": content for path, content in host.settings().items()}
        build(api, name, f"FROM {debian}\n{_PYTHON_STAND_IN}", files)


def _parts(name: str) -> tuple[str, str]:
    """Repository and tag. A colon before the last slash belongs to a registry's port."""
    repository, colon, tag = name.rpartition(":")
    return (repository, tag) if colon and "/" not in tag else (name, "latest")


def _ensure_one(api: EngineApi, name: str, progress: Progress) -> None:
    if present(api, name):
        return
    try:
        pull(api.url, name, progress)
    except Unavailable as exc:
        reason = exc
    else:
        return
    progress.say(f"{name} cannot be pulled ({reason.message}): a stand-in is made")
    if name == HAPROXY:
        with progress.step(f"making {name} from Debian's haproxy"):
            build(api, name, _HAPROXY_STAND_IN, {"docker-entrypoint.sh": _HAPROXY_ENTRYPOINT})
    elif can_install():
        make_python(api, PYTHON, "bookworm", progress)
    else:
        hint = "check the network and the engine's registry settings; only root on Debian can make a stand-in"
        raise Unavailable(f"{name} cannot be pulled: {reason.message}", hint=hint) from reason

"""What the tests of builders share: a request, a context, a log that tells when something stands in it, a look at what runs."""

import asyncio
import uuid
from collections.abc import Mapping
from pathlib import Path

from deployd.config.app import App
from deployd.domain import labels
from deployd.goal import Goal
from deployd.ports.builder import BuildRequest
from tests.fakes import FakeContext, FakeLog
from tests.testbed.images import BUSYBOX

__all__ = ["BUSYBOX", "TellingLog", "a_context", "a_request", "running"]


def a_request(instance: str, args: Mapping[str, str] | None = None, **build: object) -> BuildRequest:
    """A build of a commit that nobody built before."""
    commit = uuid.uuid4().hex + "00000000"
    settings = {"name": "iris", "repo": "/iris.git", "branch": "main", "gateway": {"listen": 8000}, "build": build}
    return BuildRequest(
        app=App.model_validate(settings),
        commit=commit,
        name=f"deployd/{instance}/iris",
        tag=f"{commit}-{uuid.uuid4().hex[:8]}",
        labels=labels(instance, "iris", goal=Goal(commit)),
        args={"COMMIT": commit, **(args or {})},
    )


def a_context(dockerfile: str, **files: str) -> FakeContext:
    """A context with that Dockerfile and those files; BUSYBOX is the base unless the Dockerfile names one."""
    text = dockerfile if "FROM" in dockerfile else f"FROM {BUSYBOX}\n{dockerfile}"
    content = {name: value.encode() for name, value in files.items()}
    return FakeContext("0" * 40, {"Dockerfile": text.encode(), **content})


class TellingLog(FakeLog):
    """Tells when a text stands in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.told = asyncio.Event()
        self._wanted = text

    def write(self, text: str) -> None:
        super().write(text)
        if self._wanted in self.text:
            self.told.set()


def running(marker: str) -> bool:
    """Whether a process of this machine has `marker` in its command line."""
    return any(marker.encode() in _command(path) for path in Path("/proc").glob("[0-9]*/cmdline"))


def _command(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""

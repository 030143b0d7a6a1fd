"""One file of a commit, kept for as long as its release is watched."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Self

from deployd.ports.log import Log


class OneFile:
    """A Context (see ports) that has this one file, or none. Nothing is built from it."""

    instructions = b""
    dockerfile = ""

    def __init__(self, commit: str, path: str, content: bytes | None) -> None:
        self.commit = commit
        self._path = path
        self._content = content

    async def read(self, path: str) -> bytes | None:
        """See ports.Context."""
        return self._content if path == self._path else None

    def add(self, into: str, files: Mapping[str, Path | bytes]) -> None:
        """See ports.Context."""
        raise NotImplementedError

    async def tar(self) -> AsyncIterator[bytes]:
        """See ports.Context."""
        raise NotImplementedError
        yield b""  # makes it a generator

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return


class Quiet:
    """A log that keeps nothing, since a watch asks its gates every second; secrets are masked as in `log`."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def write(self, text: str) -> None:
        """See ports.Log."""

    def hide(self, secret: str) -> None:
        """See ports.Log."""
        self._log.hide(secret)

    def redact(self, text: str) -> str:
        """See ports.Log."""
        return self._log.redact(text)

    def tail(self, lines: int = 10) -> str:
        """See ports.Log."""
        return self._log.tail(lines)

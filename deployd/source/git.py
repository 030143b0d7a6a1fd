"""The only module that runs git: in a hardened environment, with bounded output, and without leaving a process behind.

The daemon's own git environment and configuration do not reach a command, and no command asks a person or runs a hook. Knows
nothing of what the commands are for; a failure is raised as GitFailed with git's error output.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from deployd.errors import Unavailable
from deployd.host.child import Child

_OUTPUT = 64 * 1024 * 1024
_ERRORS = 16 * 1024
_PIECE = 256 * 1024
_WATCH_EVERY_S = 0.2
_TERM_S = 0.3
# Git needs the host's settings for network and certificates; nothing else of the daemon's environment is passed on.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_PASSED_ON = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", *_PROXIES, *(name.upper() for name in _PROXIES))
_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.askPass": "",
    "core.attributesFile": "/dev/null",
    "core.bigFileThreshold": "32m",
    "credential.helper": "",
    "fetch.unpackLimit": "1",
    "gc.auto": "0",
    "gc.autoDetach": "false",
    "i18n.logOutputEncoding": "UTF-8",
    "maintenance.auto": "false",
    "protocol.version": "2",
    "submodule.recurse": "false",
}


class GitFailed(Exception):
    """A git command failed: its exit code and the end of its standard error."""

    def __init__(self, code: int, error: str) -> None:
        super().__init__(error or f"git ended with {code}")
        self.code = code
        self.error = error


class GitTimedOut(GitFailed):
    """The command did not end in time, and was killed with all its children."""


@dataclass(frozen=True, slots=True)
class Git:
    """Git on one repository (`directory`), or on none. `settings` and `environment` are added to the hardened ones."""

    directory: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    async def run(
        self,
        *arguments: str,
        timeout: float = 120.0,
        stdin: bytes = b"",
        limit: int = _OUTPUT,
        watch: Callable[[], None] | None = None,
    ) -> bytes:
        """The output of the command. GitFailed when it fails, prints more than `limit` bytes or takes too long.

        `watch` is called several times a second while it runs; an exception of it ends the command and is raised.
        """
        with _as_file(stdin) as given:
            process = await self._start(arguments, given)
        answer = asyncio.ensure_future(_listen(process, limit))
        try:
            async with asyncio.timeout(timeout):
                while not answer.done():
                    await asyncio.wait({answer}, timeout=_WATCH_EVERY_S if watch else None)
                    if watch is not None:
                        watch()
        except TimeoutError as exc:
            raise GitTimedOut(-1, f"git {arguments[0]} did not end within {timeout:g} s") from exc
        finally:
            await _end(process, answer)
        output, error, code = answer.result()
        if len(output) > limit:
            raise GitFailed(code, f"git {arguments[0]} printed more than {limit} bytes")
        if code:
            raise GitFailed(code, error)
        return output

    @asynccontextmanager
    async def stream(self, *arguments: str, stdin: bytes) -> AsyncIterator[asyncio.StreamReader]:
        """The command's output while it runs. Leaving the block ends the command; GitFailed when it had failed before."""
        with _as_file(stdin) as given:
            process = await self._start(arguments, given)
        output, error = process.stdout, asyncio.ensure_future(_tail(process.stderr))
        try:
            yield output
            if output.at_eof() and await process.wait():
                raise GitFailed(process.returncode or -1, await error)
        finally:
            await _end(process, error, unread=output)

    async def _start(self, arguments: tuple[str, ...], stdin: IO[bytes]) -> Child:
        where = (f"--git-dir={self.directory}",) if self.directory is not None else ()
        try:
            return await Child.start(
                ("git", *where, *arguments),
                stdin=stdin,
                environment=self._hardened(),
                directory=self.directory or Path("/"),
                limit=_PIECE,
            )
        except OSError as exc:
            gone = self.directory is not None and not self.directory.is_dir()
            if gone:
                raise GitFailed(-1, f"not a git repository: {self.directory}") from exc
            raise Unavailable(f"git cannot be started: {exc.strerror}", hint="install git 2.34 or newer") from exc

    def _hardened(self) -> dict[str, str]:
        settings = {**_SETTINGS, **self.settings}
        if self.directory is not None:
            settings["safe.directory"] = str(self.directory)
        counted = {"GIT_CONFIG_COUNT": str(len(settings))}
        for number, (key, value) in enumerate(settings.items()):
            counted |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        return {
            **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
            **counted,
            **self.environment,
        }


@contextmanager
def _as_file(stdin: bytes) -> Iterator[IO[bytes]]:
    """Standard input as a file, which nobody has to feed while the command runs, unlike a pipe."""
    with TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        yield given


async def _listen(process: Child, limit: int) -> tuple[bytes, str, int]:
    error, output = asyncio.ensure_future(_tail(process.stderr)), bytearray()
    while piece := await process.stdout.read(_PIECE):
        output += piece
        if len(output) > limit:
            process.kill(signal.SIGKILL)
            output = output[: limit + 1]
    return bytes(output), await error, await process.wait()


async def _tail(stream: asyncio.StreamReader) -> str:
    kept = b""
    while piece := await stream.read(_PIECE):
        kept = (kept + piece)[-_ERRORS:]
    return kept.decode("utf-8", "replace").strip()


async def _end(process: Child, listener: asyncio.Future[Any], unread: asyncio.StreamReader | None = None) -> None:
    """End the command's whole process group, and wait until it is gone."""
    if not listener.done() or process.returncode is None:
        process.kill(signal.SIGTERM)
        # On SIGTERM git removes its lock files. A helper that still holds a pipe open keeps `listener` waiting.
        await asyncio.wait({listener}, timeout=_TERM_S)
        process.kill(signal.SIGKILL)
    # A reader that is paused because its buffer is full never sees the end of its pipe, and so never closes it.
    while unread is not None and await unread.read(_PIECE):
        pass
    await asyncio.wait({listener})
    await process.close()

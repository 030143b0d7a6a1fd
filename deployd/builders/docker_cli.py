"""The docker client: find one that can build with BuildKit, run it, read its output and stop it.

Knows processes, not builds. A client runs in a process group of its own, so that its plugins are stopped with it.
"""

import asyncio
import codecs
import os
import re
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployd.errors import DeploydError, Unavailable
from deployd.tasks import beside

_VERSION = re.compile(r"version (\d+)\.(\d+)")
_USAGE = re.compile(r"(?:See|Run) '.*--help'|Usage:|Flag --\S+ has been deprecated")
_PASSED_ON = ("PATH", "HOME", "DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_CONTEXT",
              "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Client:
    """A docker client that can build with BuildKit: with its buildx plugin, or without it (18.09 to 22)."""

    path: Path
    buildx: bool

    @property
    def stop_seconds(self) -> float:
        """Seconds that the client gets to cancel its build before it is killed. None without buildx: after SIGTERM, such a client
        sometimes cancels only the upload of its context; killing it always stops the build."""
        return 2.0 if self.buildx else 0.0


async def locate(given: Path | None) -> Client:
    """The client at `given`, or the first on PATH and in /usr/bin that can build with BuildKit; Unavailable when none can."""
    places = [Path(place) / "docker" for place in (*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin") if place]
    for path in dict.fromkeys([given] if given else places):
        if not shutil.which(path):
            continue
        if (await run([str(path), "buildx", "version"], {})).code == 0:
            return Client(path, buildx=True)
        version = _VERSION.search((await run([str(path), "--version"], {})).output)
        if version and (18, 9) <= (int(version[1]), int(version[2])) < (23, 0):
            return Client(path, buildx=False)
    raise Unavailable(
        f"{given or 'no docker client on this machine'} {'cannot' if given else 'can'} build with BuildKit",
        hint="install docker with its buildx plugin, or set builder.kind to engine",
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """The result of a client that ended; `output` is its standard output and error."""

    code: int
    output: str


def no_answer(output: str) -> Unavailable:
    """The error for a client that failed, from its output: it may print how it is used after the reason."""
    lines = [line for line in output.strip().splitlines() if line.strip() and not _USAGE.match(line)]
    said = lines[-1][:500] if lines else "nothing"
    return Unavailable(f"the docker client says: {said}", hint="is the Docker Engine running?")


async def run(command: Sequence[str], environment: Mapping[str, str]) -> Ended:
    """Run a short command."""
    lines: list[str] = []
    code = await stream(command, environment, None, lines.append)
    return Ended(code, "\n".join(lines))


async def stream(
    command: Sequence[str],
    environment: Mapping[str, str],
    stdin: AsyncIterator[bytes] | None,
    take: Callable[[str], None],
    stop_seconds: float = 0.0,
) -> int:
    """Run a client with `stdin` as its input; `take` gets every line that it prints. Its exit code, or minus the signal that
    ended it.

    However this ends, the client and its children have ended. An error of `stdin` kills the client and is raised here.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**{key: os.environ[key] for key in _PASSED_ON if key in os.environ}, **environment},
        start_new_session=True,
    )
    feeding = (_feed(process, stdin),) if stdin else ()
    async with beside(*feeding):
        try:
            if process.stdout is not None:
                await _lines(process.stdout, take)
            return await process.wait()
        finally:
            await _stop(process, stop_seconds)


async def _feed(process: asyncio.subprocess.Process, stdin: AsyncIterator[bytes]) -> None:
    if process.stdin is None:
        return
    # A client that ends early prints the reason itself.
    with suppress(BrokenPipeError, ConnectionResetError):
        try:
            async for piece in stdin:
                process.stdin.write(piece)
                await process.stdin.drain()
        except DeploydError:
            # A tar that is cut off between two files is valid, so the client must not see its end.
            _signal(process, signal.SIGKILL)
            raise
        process.stdin.close()


async def _lines(output: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    decoder, rest = codecs.getincrementaldecoder("utf-8")("replace"), ""
    while piece := await output.read(64 * 1024):
        *lines, rest = (rest + decoder.decode(piece)).split("\n")
        for line in lines:
            take(line.rstrip("\r"))
    if rest:
        take(rest)


async def _stop(process: asyncio.subprocess.Process, stop_seconds: float) -> None:
    """Send SIGTERM, so that the client can stop BuildKit; then, or at once without `stop_seconds`, SIGKILL."""
    if process.returncode is None and stop_seconds:
        _signal(process, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(stop_seconds):
                await process.wait()
    if process.returncode is None:
        _signal(process, signal.SIGKILL)
        await process.wait()


def _signal(process: asyncio.subprocess.Process, signum: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signum)

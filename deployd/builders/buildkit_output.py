"""The output of `docker build --progress=plain`: written to the log, and read to explain a failure.

Pure. Every line of a step begins with the step's number, so a build cannot imitate BuildKit's own messages.
"""

import re
from collections.abc import Collection

from deployd.builders.outcome import base_failed, step_failed
from deployd.domain import Base
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.ports.log import Log

_LINE = re.compile(r"#(\d+) (.*)")
_NOISE = re.compile(r"#\d+ (?:sha256:[0-9a-f]{64}\b.*|(?:extracting|resolve|transferring) .*)|#\d+ [\d.]+[kMG]?B / .*")
_STEP = re.compile(r"\[(?:\S+ )?(\d+/\d+)\] (.*)")
_EXIT = re.compile(r"exit code: (\d+)\s*$")
_BUILT_ON = re.compile(r"\[(?:\S+ )?\d+/\d+\] FROM (?:docker\.io/(?:library/)?)?([^\s@]+)(?:@(sha256:[0-9a-f]{64}))?.*")
_BASE = re.compile(r"\[internal\] load metadata for (\S+)|\[(?:\S+ )?\d+/\d+\] FROM (\S+)")
_NO_ENGINE = re.compile(
    r"[Cc]annot connect to the Docker daemon|error during connect|rpc error: code = Unavailable|failed to dial gRPC"
    r"|connection reset by peer|no active sessions|the server is probably too old|dial unix"
)
_PROLOGUE = re.compile(
    r"^(?:ERROR: |failed to (?:solve|build|create LLB definition)[^:]*: |rpc error: code = \w+ desc = )+"
)


def as_written(base: Base, names: Collection[str]) -> Base:
    """A base image by the name that the Dockerfile gives it: some BuildKits add the tag that is left out there."""
    short = base.name.removesuffix(":latest")
    return Base(short, base.digest) if short in names else base


class BuildkitOutput:
    """The output of one build, taken line by line. `bases`: its base images; without a digest where BuildKit tells none."""

    def __init__(self, log: Log) -> None:
        self.bases: list[Base] = []
        self._log = log
        self._names: dict[str, str] = {}
        self._failure: DeploydError | None = None
        self._last = ""

    def take(self, line: str) -> None:
        """Take one line, without its line end."""
        match = _LINE.fullmatch(line)
        if match and not _NOISE.fullmatch(line):
            self._step(match[1], match[2])
        elif line.strip():
            self._last = line.strip()
        if not _NOISE.fullmatch(line):
            self._log.write(f"{line}\n")

    def failure(self, code: int) -> DeploydError:
        """Why the client ended with `code`."""
        if self._failure is not None:
            return self._failure
        text = _PROLOGUE.sub("", self._last) or f"the docker client ended with {code}"
        if _NO_ENGINE.search(self._last) or code < 0:
            return Unavailable(f"BuildKit cannot build: {text}", hint="is the Docker Engine running?")
        return BuildFailed(text)

    def _step(self, number: str, text: str) -> None:
        if text.startswith("["):
            self._names[number] = text
            if (base := _BUILT_ON.fullmatch(text)) and Base(base[1], base[2] or "") not in self.bases:
                self.bases.append(Base(base[1], base[2] or ""))
        elif text.startswith("ERROR: ") and self._failure is None:
            self._failure = self._why(number, text.removeprefix("ERROR: "))

    def _why(self, number: str, text: str) -> DeploydError:
        name = self._names.get(number, "")
        step, code = _STEP.fullmatch(name), _EXIT.search(text)
        where = f"step {step[1]}: {step[2][:160]}: " if step else ""
        if code and step:
            return step_failed(where, int(code[1]), self._last_lines(number))
        if base := _BASE.match(name):
            return base_failed(where or f"base image {base[1] or base[2]}: ", text)
        if _NO_ENGINE.search(text):
            return Unavailable(f"{where}{text}", hint="is the Docker Engine running?")
        return BuildFailed(f"{where}{text}")

    def _last_lines(self, number: str) -> str:
        """The last lines that the failed step printed, read from the log."""
        printed = re.compile(rf"#{number} \d+\.\d+ (.*)")
        lines = [match[1] for line in self._log.tail(50).splitlines() if (match := printed.fullmatch(line))]
        return "\n".join(lines[-10:])

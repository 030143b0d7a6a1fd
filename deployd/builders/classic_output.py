"""The output of the engine's classic builder, or of Podman's: written to the log, and read for failures and for the clean-up.

Pure. A build can print text that looks like the engine's own messages, so wrong values read here must do no harm.
"""

import re
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from deployd.builders.outcome import base_failed, step_failed
from deployd.engine.stream import fault_in
from deployd.errors import BuildFailed, DeploydError, Unavailable
from deployd.ports.log import Log

_STEP = re.compile(r"(?:Step (\d+/\d+) :|(?:\[\d+/\d+\] )?STEP (\d+/\d+):) (.*?)\s*", re.DOTALL)
_RUNNING = re.compile(r" ---> Running in ([0-9a-f]{12,64})\s*")
_LAYER = re.compile(r"(?: ---|--)> (Using cache )?([0-9a-f]{12,64})\s*")
_CACHED = re.compile(r" ---> Using cache\s*")
_LAYER_GONE = re.compile(
    r'unknown parent image ID|No such image: sha256:[0-9a-f]{64}|unable to find image "sha256:[0-9a-f]{64}"'
)
_MOST_STAGES = 100
_MOST_LAYERS = 1000
_SHORT = 12
_OF_ENGINE = re.compile(r"(?: ---|--)> |Removing intermediate container |(?:\[\d+/\d+\] )?S(?:tep|TEP) |COMMIT ")
# Podman's words for a step that failed, and for a base image that it could not get.
_ENDED = re.compile(r"building at STEP .*: exit status (\d+)$", re.DOTALL)
_AT = re.compile(r'building at STEP "(?:[^"\\]|\\.)*": (?:Build error: )?')
_UNKNOWN = re.compile(r'Unknown instruction: "(\w+)" &imagebuilder\.Step.*', re.DOTALL)
_NO_BASE = re.compile(r"creating build container: |no stages|resolving ")


class ClassicOutput:
    """The output of one build. `began`: its start by the engine's clock; `images`: the results of the stages so far; `layer`: the
    last layer; `container`: the container of the present step; `podman`: Podman builds it; `failed`: it said so. The
    build can forge `layer`, `container` and `podman`."""

    def __init__(self, log: Log) -> None:
        self.began: datetime | None = None
        self.images: list[str] = []
        self.layer: str | None = None
        self.container: str | None = None
        self.podman = self.failed = False
        # The last layers of the former stages, which Podman does not tell again.
        self._stages: deque[str] = deque(maxlen=_MOST_STAGES)
        self._layers: dict[str, bool] = {}  # whether each came from the cache when it was told first
        self._cached = False  # the layer that is told next
        self._log = log
        self._step = ""
        self._from = False

    def take(self, message: Mapping[str, Any]) -> None:
        """Take one message of the stream. BuildFailed or Unavailable when the message says that the build failed."""
        if fault := fault_in(message):
            self.failed = True
            raise self._failure(fault, message.get("errorDetail"))
        if isinstance(text := message.get("stream"), str):
            self._read(text)
            self._log.write(text)
        elif isinstance(aux := message.get("aux"), dict) and isinstance(aux.get("ID"), str):
            self.images.append(aux["ID"])
        elif isinstance(message.get("status"), str):
            self._pull(message)

    @property
    def told(self) -> list[str]:
        """The ids of the results, and of the last layer; of Podman also those of the last layers of former stages."""
        return [each for each in (*self.images, *self._stages, self.layer) if each]

    @property
    def cached(self) -> list[str]:
        """The beginnings of the ids of the layers that the engine took from its cache, but for those that this build made."""
        return [layer for layer, cached in self._layers.items() if cached]

    def _read(self, text: str) -> None:
        cached, self._cached = self._cached, _CACHED.fullmatch(text) is not None
        if step := _STEP.fullmatch(text):
            instruction = " ".join(step[3].split())
            self._step = f"step {step[1] or step[2]}: {instruction[:160]}"
            self._from, self.container = instruction[:5].upper() == "FROM ", None
            self.podman = step[2] is not None
            if self.podman and self._from and self.layer is not None:
                self._stages.append(self.layer)
        elif running := _RUNNING.fullmatch(text):
            self.container = running[1]
        elif layer := _LAYER.fullmatch(text):
            self.layer = layer[2]
            if len(self._layers) < _MOST_LAYERS:
                self._layers.setdefault(self.layer[:_SHORT], cached or layer[1] is not None)

    def _pull(self, message: Mapping[str, Any]) -> None:
        """Log a line for each image and each layer that is pulled, but none for every step of a progress bar."""
        status, layer = message["status"], message.get("id")
        if not message.get("progressDetail") and status not in {"Waiting", "Verifying Checksum", "Download complete"}:
            self._log.write(f"{layer}: {status}\n" if layer else f"{status}\n")

    def _failure(self, text: str, detail: object) -> DeploydError:
        ended = _ENDED.search(text)
        code = (detail.get("code") if isinstance(detail, dict) else None) or (ended[1] if ended is not None else None)
        hint = self._last_lines() if code else ""
        self._log.write(f"{text}\n")
        where = f"{self._step}: " if self._step else ""
        if code:
            return step_failed(where, int(code), hint)
        text = _UNKNOWN.sub(r"unknown instruction: \1", _AT.sub("", text, count=1))
        if _LAYER_GONE.search(text):
            return Unavailable(f"{where}{text}", hint="somebody removed a layer of the build cache; it is built again")
        return base_failed(where, text) if self._from or _NO_BASE.match(text) else BuildFailed(f"{where}{text}")

    def _last_lines(self) -> str:
        lines = [
            line for line in self._log.tail(30).rpartition("==> build\n")[2].splitlines() if not _OF_ENGINE.match(line)
        ]
        return "\n".join(lines[-10:])

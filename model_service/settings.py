"""How the service runs: environment variables, which command-line options override. Knows nothing else of the package."""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Settings:
    """All that can be set. Each field is an option (`--max-rows`) and a variable (`MODEL_MAX_ROWS`).

    Times are in seconds, sizes in bytes. `drain`: how long after SIGTERM new requests are still answered, with readiness
    off and `Connection: close`; `grace`: how long requests in flight may then take. `max_waiting`: requests at once in one
    worker before 503. `timeout`: for one prediction, 504; `body_timeout`: for a body to arrive, 408.
    """

    dir: Path = Path("model")
    host: str = "0.0.0.0"  # noqa: S104  # a container's only way in
    port: int = 5000
    workers: int = 1
    max_body: int = 16 * 1024 * 1024
    max_rows: int = 10_000
    max_waiting: int = 512
    timeout: float = 30.0
    body_timeout: float = 30.0
    drain: float = 0.5
    grace: float = 8.0
    batch_rows: int = 256
    trust: tuple[str, ...] = ()
    allow_pickle: str | None = None
    commit: str | None = None
    meters: Path | None = None
    fd: int | None = None
    line: int | None = None
    late: bool = False


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line over the environment over the defaults; exits 2 when one is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m model_service", description="Serves the model that model_service.train wrote."
    )
    for field in fields(Settings):
        variable = f"MODEL_{field.name.upper()}"
        given = os.environ.get(variable) or None
        if given is not None and _SERVICE_LINK.match(given):
            given = None
        kind = _KINDS.get(field.name, str)
        shown = field.name not in _INTERNAL
        help_text = f"{variable}, default {field.default or 'none'}" if shown else argparse.SUPPRESS
        default = field.default if given is None else given
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=default, help=help_text)
    return Settings(**vars(parser.parse_args(arguments)))


def _size(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65_536:
        raise ValueError(text)
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 86_400:
        raise ValueError(text)
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


# Kubernetes sets MODEL_PORT=tcp://10.0.0.7:80 in the pods beside a Service that is named model.
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")
_INTERNAL = ("meters", "fd", "line", "late")  # between a supervisor and its workers
_KINDS: dict[str, Callable[[str], Any]] = {
    "dir": Path,
    "port": _port,
    "workers": _size,
    "max_body": _size,
    "max_rows": _size,
    "max_waiting": _size,
    "timeout": _seconds,
    "body_timeout": _seconds,
    "drain": _seconds,
    "grace": _seconds,
    "batch_rows": _size,
    "trust": _names,
    "meters": Path,
    "fd": int,
    "line": int,
    "late": bool,
}

"""How the service runs: each setting is a command-line option, an environment variable or a default, in this order."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

_DAY = 86_400


def _split(text: Any) -> Any:
    return [name.strip() for name in text.split(",") if name.strip()] if isinstance(text, str) else text


# The title of a type says what is expected, for the message about a wrong value.
Port = Annotated[int, Field(ge=0, le=65_535, title="a port from 0 to 65535")]
Count = Annotated[int, Field(ge=1, title="a whole number from 1 up")]
Limit = Annotated[float, Field(gt=0, le=_DAY, title="seconds, more than 0 and at most 86400")]
Duration = Annotated[float, Field(ge=0, le=_DAY, title="seconds from 0 to 86400")]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), Field(title="names with commas between them")]
Prefix = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$", title="a path like /iris, without a slash at its end")]
Descriptor = Annotated[int, Field(ge=0, title="a file descriptor")]


class Settings(BaseModel):
    """All settings. A field is an option (`--max-rows`) and a variable (`MODEL_MAX_ROWS`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dir: Path = Field(Path("model"), description="directory with the files that training wrote")
    host: str = Field("0.0.0.0", description="address to listen on")  # noqa: S104  # a container is reached from outside
    port: Port = Field(5000, description="port to listen on")
    workers: Count = Field(1, description="number of processes")
    max_body: Count = Field(16 * 1024 * 1024, description="largest body in bytes, else 413")
    max_rows: Count = Field(10_000, description="most rows in one request, else 422")
    max_waiting: Count = Field(512, description="most requests at once in one worker, else 503")
    timeout: Limit = Field(30.0, description="seconds for one prediction, else 504")
    body_timeout: Limit = Field(30.0, description="seconds for a request to arrive, else 408")
    drain: Duration = Field(
        0.5, description="seconds after SIGTERM in which new requests are answered, while readiness is off"
    )
    grace: Duration = Field(8.0, description="seconds after that in which requests in flight may finish")
    batch_rows: Count = Field(256, description="most rows that are merged into one call of the model")
    trust: Names = Field(
        (), description="types that a skops file may hold besides the usual ones, with commas between them"
    )
    allow_pickle: str | None = Field(None, description="SHA-256 of the pickle that may be loaded")
    cors: Names = Field(
        (), description="origins whose pages may call the service from a browser, with commas between them; * for all"
    )
    root_path: Prefix = Field("", description="path under which a proxy serves this service, for example /iris")
    commit: str | None = Field(None, description="commit that the image was built for")
    # Options that the supervisor gives to its workers.
    metrics_file: Path | None = None
    listener_fd: Descriptor | None = None
    supervisor_fd: Descriptor | None = None
    listen_when_ready: bool = False


_INTERNAL = ("metrics_file", "listener_fd", "supervisor_fd", "listen_when_ready")
# Kubernetes sets MODEL_PORT=tcp://10.0.0.7:80 in pods when there is a Service with the name "model".
_SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """The settings of this process. Exits with status 2 after one line for each wrong value."""
    parser = _parser()
    options = vars(parser.parse_args(arguments))
    try:
        return Settings.model_validate(_variables(os.environ) | options)
    except ValidationError as exc:
        faults = exc.errors(include_url=False, include_context=False)
        parser.exit(2, "".join(_explain(str(fault["loc"][0]), fault["input"], options) for fault in faults))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_service",
        usage="%(prog)s [options]",
        description="Serves the model that model_service.train wrote.",
        argument_default=argparse.SUPPRESS,
    )
    for name, field in Settings.model_fields.items():
        default = ", ".join(field.default) if isinstance(field.default, tuple) else field.default
        text = f"{field.description} ({_variable(name)}, default {default or 'none'})"
        parser.add_argument(
            _option(name), metavar="VALUE", help=argparse.SUPPRESS if name in _INTERNAL else text.replace("%", "%%")
        )
    return parser


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that the environment gives. An empty variable counts as one that is not set."""
    given = {name: environment.get(_variable(name), "") for name in Settings.model_fields if name not in _INTERNAL}
    return {name: text for name, text in given.items() if text and not _SERVICE_LINK.match(text)}


def _explain(name: str, value: object, options: Mapping[str, str]) -> str:
    source = _option(name) if name in options else _variable(name)
    return f"error: {source}: expected {Settings.model_fields[name].title}, got {value!r}\n"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"MODEL_{name.upper()}"

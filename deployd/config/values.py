"""The kinds of value that a config key can hold: durations, sizes, references to secrets, names, globs.

Durations become seconds (float), sizes bytes (int). A secret is always a reference and is read when it is needed.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from deployd.errors import ConfigError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_BYTES = {
    unit: base**power
    for base, units in ((1000, ("B", "KB", "MB", "GB", "TB")), (1024, ("B", "KiB", "MiB", "GiB", "TiB")))
    for power, unit in enumerate(units)
}
_REFERENCE = re.compile(r"(env|file|credential):(.+)")


def seconds(text: Any) -> float:
    """`"90s"`, `"1h30m"`, `"250ms"` as seconds; `"0"` is allowed."""
    if text == "0" or (text == 0 and not isinstance(text, bool)):
        return 0.0
    parts = _DURATION.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError('expected a duration with a unit, such as "90s", "5m" or "1h30m"')
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def size(text: Any) -> int:
    """`"512MiB"`, `"25MB"` as bytes."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('expected a size with a unit, such as "512MiB" or "10GB"')
    return int(float(match[1]) * _BYTES[match[2]])


def _reference(text: str) -> str:
    if _REFERENCE.fullmatch(text) is None:
        raise ValueError(
            'expected a reference to a secret ("env:NAME", "file:PATH" or "credential:NAME"), not the secret itself'
        )
    return text


def _not_negative(number: int) -> int:
    if number < 0:
        raise ValueError("expected a number of at least 0")
    return number


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$|^0$"}),
]
Size = Annotated[int, BeforeValidator(size), WithJsonSchema({"type": "string", "pattern": _SIZE.pattern})]
Reference = Annotated[str, AfterValidator(_reference)]
Count = Annotated[int, AfterValidator(_not_negative)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$", description="a DNS label")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of config.toml: frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_secret(reference: str, key: str) -> str:
    """The value behind a reference, without the newline that editors add.

    `key` is the path of the config key that holds the reference, for the error. An empty secret is an error: a check
    against it would let everybody in.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        value = os.environ.get(name)
        missing = f"the environment variable {name} is not set"
    else:
        path = (
            Path(name) if kind == "file" else Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials")) / name
        )
        missing = f"{path} cannot be read"
        try:
            value = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{key}: {missing}", hint=f"{reference} must lead to the secret") from exc
    if value is None or not value.strip():
        raise ConfigError(
            f"{key}: {missing if value is None else f'{reference} is empty'}",
            hint=f"{reference} must lead to the secret",
        )
    return value.strip("\r\n") if kind == "env" else value.rstrip("\r\n")

"""The types of config values: durations, sizes, references to secrets, names, ports.

Durations become seconds (float), sizes bytes (int). A secret is always a reference and is read when it is needed.
"""

import os
import re
from pathlib import Path, PurePosixPath
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
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_REFERENCE = re.compile(r"(env|file|credential):(.+)")
_ENV_NAME = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]*")

# Hints for a secret that cannot be read, by the kind of its reference.
_HINTS = {
    "env": "set {name} in the environment of deployd",
    "file": "write the secret into that file, and let the user of deployd read it",
    "credential": "set it, or add LoadCredential={name}:FILE to the unit and restart deployd",
}
_OUTSIDE = "only the service sees its credentials: run this as root. `sudo deployd check` checks as the service does"


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


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise ValueError("expected a path inside the repository, without ..")
    return str(pure)


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError("expected lower-case letters, digits and hyphens, at most 40, with no hyphen at either end")
    return text


def _http_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must begin with /")
    if re.search(r"\s", path):
        raise ValueError("must not hold a space")
    return path


def _env_name(text: str) -> str:
    if _ENV_NAME.fullmatch(text) is None:
        raise ValueError('expected the name of a variable: letters, digits, "_", "." and "-", and no digit in front')
    return text


def _env_value(value: Any) -> Any:
    if isinstance(value, bool | int | float):
        written = str(value).lower() if isinstance(value, bool) else str(value)
        raise ValueError(f'write it in quotes: "{written}"')  # noqa: TRY004 - pydantic catches no TypeError
    return value


def _not_negative(number: int) -> int:
    if number < 0:
        raise ValueError("must be at least 0")
    return number


Duration = Annotated[
    float,
    BeforeValidator(seconds),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$|^0$"}),
]
Size = Annotated[int, BeforeValidator(size), WithJsonSchema({"type": "string", "pattern": _SIZE.pattern})]
Reference = Annotated[str, AfterValidator(_reference)]
Inside = Annotated[str, AfterValidator(_inside)]
HttpPath = Annotated[str, AfterValidator(_http_path), WithJsonSchema({"type": "string", "pattern": r"^/[^\s]*$"})]
EnvName = Annotated[str, AfterValidator(_env_name)]
EnvValue = Annotated[str, BeforeValidator(_env_value)]
Count = Annotated[int, AfterValidator(_not_negative)]
Name = Annotated[str, AfterValidator(_name), WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$"})]
Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A table of config.toml. It is frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_secret(reference: str, key: str) -> str:
    """The value behind a reference, without the newline that editors add.

    `key` is the path of the config key, for the error. An empty secret is an error, since a signature made with it proves
    nothing.
    """
    kind, _, name = reference.partition(":")
    hint = _HINTS[kind].format(name=name)
    if kind == "credential" and "CREDENTIALS_DIRECTORY" not in os.environ and os.geteuid() != 0:
        hint = _OUTSIDE
    try:
        value = os.environ[name] if kind == "env" else _file(kind, name).read_text("utf-8")
    except KeyError as exc:
        raise ConfigError(f"{key}: the environment variable {name} is not set", hint=hint) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{key}: {_file(kind, name)} is not UTF-8 text", hint=hint) from exc
    except OSError as exc:
        raise ConfigError(f"{key}: cannot read {_file(kind, name)}: {exc.strerror}", hint=hint) from exc
    if not value.strip():
        raise ConfigError(f"{key}: {reference} is empty", hint=hint)
    if "\0" in value:
        raise ConfigError(f"{key}: {reference} holds a NUL character", hint="a secret is text")
    return value.strip("\r\n") if kind == "env" else value.rstrip("\r\n")


def read_token(reference: str, key: str) -> str:
    """A secret that is sent in a header: one line of ASCII without spaces. ConfigError for another, which the error of a client
    would show."""
    token = read_secret(reference, key)
    if not (token.isascii() and token.isprintable() and " " not in token):
        what = f"{key}: what {reference} holds is no token: a character in it cannot be sent"
        raise ConfigError(what, hint="a token is one line of ASCII without spaces")
    return token


def _file(kind: str, name: str) -> Path:
    if kind == "file":
        return Path(name)
    # Outside of the service: root may read those of the service that runs.
    return Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/deployd.service")) / name

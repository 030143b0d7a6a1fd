"""The part of config.toml about an app's own gates and hooks: commands on this machine, or URLs."""

import re
from typing import Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from deployd.config.values import Duration, Name, Section, Size

_SHELL = ("/bin/sh", "-c")
_STEPS = (
    *("fetch", "build", "push", "candidate", "ready", "golden", "evaluate", "compare", "canary", "cut-over", "watch"),
    *("standby", "restarts", "prometheus", "errors", "latency", "drain", "prune", "apply", "rollout", "bake", "revert"),
)
_MIB = 1024**2


def _command(value: Any) -> Any:
    """A list is the command and its arguments; text is given to a shell."""
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("must not be empty")
        return (*_SHELL, value)
    if not isinstance(value, list | tuple) or not value or not all(isinstance(word, str) for word in value):
        message = 'expected a list, such as ["/opt/gates/fairness", "--strict"], or text for a shell'
        raise ValueError(message)
    if not value[0]:
        raise ValueError("the name of the command is empty")
    return value


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", text):
        raise ValueError('expected an http or https URL, such as "http://127.0.0.1:9000/gate"')
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password")
    return text


def _own_name(name: str) -> str:
    if name in _STEPS:
        raise ValueError(f"{name} is a step of deployd itself; choose another name")
    return name


def _enough(size: int) -> int:
    if size < 16 * _MIB:
        raise ValueError('must be at least "16MiB"')
    return size


_WORDS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Command = Annotated[
    tuple[str, ...], BeforeValidator(_command), WithJsonSchema({"anyOf": [{"type": "string", "minLength": 1}, _WORDS]})
]
OwnName = Annotated[Name, AfterValidator(_own_name)]
OwnUrl = Annotated[str, AfterValidator(_url)]


class OwnProgram(Section):
    """The command or URL to ask, with limits of time and memory."""

    name: OwnName
    command: Command | None = None
    url: OwnUrl | None = None
    timeout: Annotated[Duration, Field(gt=0)] = 60.0
    memory: Annotated[Size, AfterValidator(_enough)] = 1024 * _MIB

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either command or url, and not both")
        return self


AnyProgram = TypeVar("AnyProgram", bound=OwnProgram)


class OwnGate(OwnProgram):
    """`[[app.gate]]`"""

    when: Literal["before", "after"] = "before"


class Hook(OwnProgram):
    """`[[app.hook]]`"""

    when: Literal["before", "after"] = "after"


def names_differ(asked: tuple[AnyProgram, ...]) -> tuple[AnyProgram, ...]:
    """The gates, or the hooks, of an app, each of which needs a name of its own."""
    names = [one.name for one in asked]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two of them have the name {min(twice)}")
    return asked

"""The request bodies that the API takes. An unknown key is an error."""

import re
from base64 import b64decode
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema

_COMMIT_NAME = r"[^\s\x00-\x1f\x7f-][^\x00-\x20\x7f]*"


def _commit_name(text: str) -> str:
    if re.fullmatch(_COMMIT_NAME, text) is None:
        raise ValueError("expected a SHA, branch or tag: no space in it, and no hyphen in front")
    return text


CommitName = Annotated[
    str,
    StringConstraints(max_length=255),
    AfterValidator(_commit_name),
    WithJsonSchema({"type": "string", "maxLength": 255, "pattern": f"^{_COMMIT_NAME}$"}),
]


class Asked(BaseModel):
    """The body of a request; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class DeployAsked(Asked):
    """What to deploy: a SHA (short or full), branch or tag; null means the head of what the app watches.

    `rebuild`: build the image anew, without the build cache and from base images that are pulled, though there is one.
    `prove`: ask all gates of it, and never switch to it.
    `accept_changes`: other predictions than those of the live release are expected; [app.compare] then only warns of them.
    """

    commit: CommitName | None = None
    rebuild: bool = False
    prove: bool = False
    accept_changes: bool = False


class PruneAsked(Asked):
    """Which app's images to prune; null means those of every app. `dry_run`: only say what would go."""

    app: Annotated[str, StringConstraints(max_length=255)] | None = None
    dry_run: bool = False


class RollbackAsked(Asked):
    """The number of the deploy to go back to, which must have been live; null means the previous release."""

    to: Annotated[int, Field(ge=1, le=2**53)] | None = None


class ScaleAsked(Asked):
    """How many replicas to run."""

    replicas: Annotated[int, Field(ge=0, le=1000)]


class SizeAsked(Asked):
    """The size of a terminal's window."""

    rows: Annotated[int, Field(ge=1, le=10_000)]
    columns: Annotated[int, Field(ge=1, le=10_000)]


class ExecAsked(Asked):
    """A command and its arguments, run without a shell. With `terminal` it runs at one of that size, and what is typed there
    follows in requests of its own."""

    command: Annotated[list[Annotated[str, StringConstraints(max_length=32768)]], Field(min_length=1, max_length=256)]
    terminal: SizeAsked | None = None


_BASE64 = {"type": "string", "contentEncoding": "base64", "pattern": "^(?:[A-Za-z0-9+/]{4})*$"}


def _base64(text: str) -> str:
    try:
        b64decode(text, validate=True)
    except ValueError as exc:
        raise ValueError("expected Base64") from exc
    return text


class TypedAsked(Asked):
    """An input to the terminal of a command: typed bytes as Base64, or a new size of the window."""

    typed: Annotated[str, AfterValidator(_base64), WithJsonSchema(_BASE64)] = ""
    size: SizeAsked | None = None

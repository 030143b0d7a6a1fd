"""The part of config.toml about messages to people: `[notify]`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from deployd.config.values import Reference, Section

Occasion = Literal["live", "failed", "reverted", "recovered", "held", "missed"]

NAMES = (
    *("app", "author", "by", "commit", "deploy", "duration", "event", "held", "hint", "late", "link", "live", "missed"),
    *("number", "reason", "ref", "short", "subject", "trigger", "url"),
)
"""The names that a template may use."""


def rendered(text: str, values: Mapping[str, Any], finalize: Any = None) -> str:
    """A template of text with its values; `finalize` is applied to each of them. Raises ValueError when it cannot be used."""
    from jinja2 import StrictUndefined, TemplateError  # noqa: PLC0415 - only where somebody is notified
    from jinja2.sandbox import SandboxedEnvironment  # noqa: PLC0415 - the same

    sandbox = SandboxedEnvironment(
        autoescape=False, undefined=StrictUndefined, finalize=finalize, trim_blocks=True, lstrip_blocks=True
    )
    try:
        return sandbox.from_string(text).render(values)
    except (TemplateError, TypeError, ArithmeticError, AttributeError, LookupError) as exc:
        raise ValueError(str(exc)) from exc


def _template(text: str) -> str:
    try:
        rendered(text, dict.fromkeys(NAMES, "") | {"number": 1, "missed": False})
    except ValueError as exc:
        raise ValueError(f"the template cannot be used: {exc}; it may use {', '.join(NAMES)}") from exc
    return text


Template = Annotated[str, AfterValidator(_template)]


class Notify(Section):
    """`[notify]`"""

    urls: tuple[Reference, ...] = ()
    on: Annotated[tuple[Occasion, ...], Field(min_length=1)] = ("live", "failed", "reverted")
    templates: dict[Occasion, Template] = {}

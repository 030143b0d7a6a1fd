"""How a command describes itself: `deployd deploy [OPTIONS] APP [COMMIT]`, as kubectl, docker and gh do."""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand

F = TypeVar("F", bound=Callable[..., Any])


class Commands(typer.Typer):
    """A group of such commands."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        """Overrides typer's own decorator."""
        return super().command(name, **{"cls": _Command, **settings})


class _Command(TyperCommand):
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [self.options_metavar or "", *(_usage(one) for one in _arguments(self, ctx))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        arguments = [(_name(one), one.help or "") for one in _arguments(self, ctx)]
        options = [one.get_help_record(ctx) for one in self.get_params(ctx) if one.param_type_name == "option"]
        for title, records in (("Arguments", arguments), ("Options", [record for record in options if record])):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def _arguments(command: TyperCommand, ctx: Any) -> list[Any]:
    return [one for one in command.get_params(ctx) if one.param_type_name == "argument"]


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name)


def _usage(argument: Any) -> str:
    return _name(argument) if argument.required else f"[{_name(argument)}]"

"""The command line, put together. An expected failure ends in `error:` and `hint:` on standard error, never in a traceback."""

import importlib.metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deployd.asking import DaemonAway
from deployd.cli import apps, deliveries, deploys, hooks, local, logs, operator, tokens
from deployd.errors import DeploydError
from deployd.exits import UNREACHABLE, print_error

_INTERRUPTED = 130


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DeploydError as exc:
            code = print_error(exc)
            raise typer.Exit(UNREACHABLE if isinstance(exc, DaemonAway) else code) from exc
        except KeyboardInterrupt as exc:
            raise typer.Exit(_INTERRUPTED) from exc


app = typer.Typer(
    name="deployd",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="DEPLOYD_URL names the daemon to ask, DEPLOYD_TOKEN holds the token for it, DEPLOYD_CONFIG names the config file.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(importlib.metadata.version("deployd"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Turn git push into a live, proven model service."""


for part in (local, apps, deploys, deliveries, logs, operator):
    part.add_to(app)
app.add_typer(tokens.app, name="token")
app.add_typer(hooks.app, name="hook")


def run() -> None:
    """Run the command that the arguments of the process name. Does not return."""
    app()

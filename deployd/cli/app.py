"""The command line, put together. An expected failure ends in `error:` and `hint:` on standard error, never in a traceback."""

import importlib.metadata
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deployd.asking import DaemonAway
from deployd.cli import (
    apps,
    deliveries,
    deploys,
    golden,
    hooks,
    install,
    local,
    logs,
    new,
    notify,
    operator,
    prune,
    status,
    tokens,
)
from deployd.cli.command import Commands
from deployd.errors import DeploydError
from deployd.exits import UNREACHABLE, print_error

_INTERRUPTED, _NO_READER = 130, 141  # as a shell tells the end by SIGINT and by SIGPIPE


# Commands of other tools that people may type, and our own commands for them.
_MEANT = {
    **dict.fromkeys(("ps", "ls", "list", "get", "apps"), "status"),
    **dict.fromkeys(("undo", "back", "revert"), "rollback"),
    **dict.fromkeys(("releases", "deploys", "runs"), "history"),
    **dict.fromkeys(("show", "inspect", "info"), "describe"),
    **dict.fromkeys(("abort", "stop"), "cancel"),
    **dict.fromkeys(("ssh", "sh", "shell"), "exec"),
    **dict.fromkeys(("start", "serve", "up"), "run"),
    **dict.fromkeys(("delete", "rm"), "remove"),
    **dict.fromkeys(("push", "redeploy"), "deploy"),
    **dict.fromkeys(("browse", "url"), "open"),
    **dict.fromkeys(("deliveries", "webhooks"), "delivery"),
    **dict.fromkeys(("watch", "top"), "status --watch"),
    **dict.fromkeys(("output", "attach"), "applog"),
}


class _Commands(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named; where another tool's name is, what it is here."""
        if args[0] in _MEANT and args[0] not in self.commands:
            ctx.fail(f"deployd has no command {args[0]}; did you mean: deployd {_MEANT[args[0]]}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except DeploydError as exc:
            code = print_error(exc)
            raise typer.Exit(UNREACHABLE if isinstance(exc, DaemonAway) else code) from exc
        except KeyboardInterrupt as exc:
            raise typer.Exit(_INTERRUPTED) from exc
        except BrokenPipeError as exc:
            _print_no_more()
            raise typer.Exit(_NO_READER) from exc
        except OSError as exc:
            named = f"{exc.filename}: " if exc.filename else ""
            refused = DeploydError(f"{named}{exc.strerror or exc}", hint=_HINTS.get(type(exc), ""))
            raise typer.Exit(print_error(refused)) from exc


_HINTS: dict[type[OSError], str] = {
    FileNotFoundError: "make its directory, or name another file",
    PermissionError: "name a file that you may use, or run the command as another user",
    IsADirectoryError: "name a file",
}


def _print_no_more() -> None:
    """Nobody reads standard output any more, as after `| head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


app = Commands(
    name="deployd",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="DEPLOYD_URL names another daemon than this machine's, DEPLOYD_TOKEN holds the token for it, DEPLOYD_CONFIG names the "
    "config file.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_help(
    ctx: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Default: all commands.")] = None,
) -> None:
    """Show the commands, or the help of one."""
    at = ctx.find_root()
    for name in command or ():
        found = at.command.get_command(at, name) if isinstance(at.command, TyperGroup) else None
        if found is None:
            ctx.fail(f"deployd has no command {' '.join(command or ())}")
        at = type(at)(found, info_name=name, parent=at)
    typer.echo(at.get_help())


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


for part in (local, install, new, status, apps, deploys, deliveries, logs, prune, operator):
    part.add_to(app)
app.command("help", epilog="Example: deployd help deploy")(show_help)
app.add_typer(tokens.app, name="token")
app.add_typer(hooks.app, name="hook")
app.add_typer(golden.app, name="golden")
app.add_typer(notify.app, name="notify")


def run() -> None:
    """Run the command that the arguments of the process name. Does not return."""
    try:
        app(prog_name="deployd")
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _print_no_more()

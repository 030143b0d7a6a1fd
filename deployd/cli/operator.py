"""The commands for the operator of the daemon: version, reload, backup."""

import importlib.metadata
import json
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import typer

from deployd.cli.output import AsJson, out, with_daemon
from deployd.errors import ConfigError, RequestRefused


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd version")(version)
    app.command(epilog="Example: deployd reload")(reload)
    app.command(epilog="Example: deployd backup /var/backups/deployd.db")(backup)


def version(as_json: AsJson = False) -> None:
    """Print the version of this command and of the daemon."""
    ours = importlib.metadata.version("deployd")
    if not as_json:
        out().print(f"command  {ours}")
    daemon = with_daemon(lambda client: client.version()).version
    if as_json:
        print(json.dumps({"command": ours, "daemon": daemon}, indent=2))
    else:
        out().print(f"daemon   {daemon}")


def reload() -> None:
    """Let the daemon read its config again. A wrong config is refused, and the current one stays: exit code 78."""
    try:
        answer = with_daemon(lambda client: client.reload())
    except RequestRefused as exc:
        if exc.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise
        raise ConfigError(exc.message, hint=exc.hint) from exc
    out().print(f"reloaded: {', '.join(answer.apps) or 'no apps'}")
    if answer.needs_restart:
        out().print(f"these changes need a restart of deployd: {', '.join(answer.needs_restart)}")
    for name in answer.older_config:
        out().print(f"{name} runs with an older config: `deployd restart {name}` rolls out the new one", style="yellow")
    for name in answer.restarting:
        out().print(f"{name} is restarted with its new config")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; an existing one is replaced.")],
) -> None:
    """Copy the daemon's database to a file, while it runs."""
    size = with_daemon(lambda client: client.backup(file))
    out().print(f"{file} is written: {size} bytes")

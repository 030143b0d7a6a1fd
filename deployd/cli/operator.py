"""The commands for the operator of the daemon: reload, backup."""

from pathlib import Path
from typing import Annotated

import typer

from deployd.cli.output import out, with_daemon


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd reload")(reload)
    app.command(epilog="Example: deployd backup /var/backups/deployd.db")(backup)


def reload() -> None:
    """Let the daemon read its config again. A wrong config is refused, and the present one stays."""
    answer = with_daemon(lambda client: client.reload())
    out().print(f"reloaded: {', '.join(answer.apps) or 'no apps'}")
    if answer.needs_restart:
        out().print(f"these changes need a restart: {', '.join(answer.needs_restart)}")


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; an existing one is replaced.")],
) -> None:
    """Copy the daemon's database to a file, while it runs."""
    size = with_daemon(lambda client: client.backup(file))
    out().print(f"{file} is written: {size} bytes")

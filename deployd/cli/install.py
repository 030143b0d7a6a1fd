"""The commands that install deployd as a service of this machine, and uninstall it."""

import asyncio
import importlib.metadata
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployd.cli.output import err, out
from deployd.config.daemon import Config
from deployd.config.file import load
from deployd.errors import DeploydError
from deployd.host import removal
from deployd.host.act import Act, run
from deployd.host.installation import Program, Site
from deployd.host.service import UNIT, installed

if TYPE_CHECKING:
    from deployd.remaining import Remaining

_DRY = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
_START = "systemctl enable --now deployd.socket deployd.service"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd install --dry-run")(install)
    app.command(epilog="Example: deployd uninstall --dry-run")(uninstall)


def install(dry_run: _DRY = False) -> None:
    """Install deployd as a service of this machine, or update it after an upgrade: account, directories, a secret, units.

    Starts and restarts nothing. What is there already stays as it is; a unit that differs is kept as UNIT.old.
    """
    site, program = Site(), Program.running()
    program.check()
    _only_root(dry_run=dry_run)
    _carry_out(site.install(program), dry_run=dry_run)
    if dry_run:
        return
    out().print(f"deployd {importlib.metadata.version('deployd')} is installed; its program is {program.command}")
    if installed() is not None and _runs():
        out().print(f"It runs as it was. Next: systemctl restart {UNIT}")
        return
    out().print(f"Nothing was started. Next: write {site.config}/config.toml, then `deployd check`, then\n  {_START}")


def uninstall(
    dry_run: _DRY = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove the config, the secrets, the history and the account.")
    ] = False,
) -> None:
    """Remove what `deployd install` made, and print what goes on serving.

    Releases and gateway are not stopped. Config, secrets, history and account stay unless --purge is given.
    """
    _only_root(dry_run=dry_run)
    site = Site()
    serving = _serving(site)
    if purge:
        _refuse_to_purge(serving)
    _carry_out(removal.uninstall(site, purge=purge), dry_run=dry_run)
    _print_serving(serving)
    out().print(
        f"The program itself is still in {Path(sys.prefix)}: remove that, or as you installed it (pipx, uv tool)."
    )


def _only_root(*, dry_run: bool) -> None:
    if os.geteuid() != 0 and not dry_run:
        raise DeploydError("only root can do this", hint="run it with sudo, or see what it would do with --dry-run")


def _carry_out(acts: Iterable[Act], *, dry_run: bool) -> None:
    """Do and print each; in a dry run only print."""
    if dry_run:
        out().print("Nothing is changed. What would be done:")
    for act in acts:
        if act.do is not None and not dry_run:
            act.do()
        out().print(f"{act.done:<9}{act.what}", soft_wrap=True)


def _runs() -> bool:
    try:
        run("systemctl", "is-active", UNIT)
    except DeploydError:
        return False
    return True


def _serving(site: Site) -> "Sequence[Remaining] | None":
    """What still serves; None when that is unknown, after printing why."""
    from deployd.remaining import remaining  # noqa: PLC0415 - loads the engine's client

    service = installed()
    path = (service.config if service else None) or site.config / "config.toml"
    try:
        config, certain = load(path) if path.exists() else Config(), True
    except DeploydError as exc:
        err().print(
            f"{exc.message}: only what a config without apps names is looked for", style="yellow", soft_wrap=True
        )
        config, certain = Config(), False
    try:
        found = asyncio.run(remaining(config))
    except DeploydError as exc:
        err().print(f"{exc.message}: deployd cannot find out what still serves", style="yellow", soft_wrap=True)
        return None
    return found if found or certain else None


def _refuse_to_purge(serving: "Sequence[Remaining] | None") -> None:
    if serving is None:
        raise DeploydError(
            "the gateway may still serve, and it reads its files from the state directory",
            hint="correct the config or start the engine; or uninstall without --purge, and remove the rest by hand",
        )
    names = " ".join(one.container for one in serving if one.container)
    if names:
        raise DeploydError(
            f"these containers still serve, and the gateway reads its files from the state directory: {names}",
            hint=f"end them first: systemctl stop deployd.socket {UNIT} && docker rm --force {names}",
        )


def _print_serving(serving: "Sequence[Remaining] | None") -> None:
    if serving is None:
        return
    if not serving:
        out().print("Nothing of deployd serves on this machine.")
        return
    out().print("What goes on serving, while nobody deploys, watches or repairs it:")
    for one in serving:
        out().print(f"  {one.what}{f' ({one.container})' if one.container else ''}", soft_wrap=True)
    if names := " ".join(one.container for one in serving if one.container):
        out().print(f"To end it: docker rm --force {names}", soft_wrap=True)

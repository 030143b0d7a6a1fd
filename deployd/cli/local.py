"""The commands that need no daemon: run, check, demo, init, completion."""

import asyncio
import getpass
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from deployd.cli.output import AsJson, err
from deployd.config.file import default_path
from deployd.exits import CONFIG, FAILED
from deployd.host.service import UNIT, Service, installed

ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        readable=False,  # the config's own reader says what to do about it
        help="The config file; default: DEPLOYD_CONFIG, ./config.toml, /etc/deployd/config.toml.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(epilog="Example: deployd run --config /etc/deployd/config.toml", context_settings=passed_on)(run)
    app.command(epilog="Example: deployd check --config /etc/deployd/config.toml")(check)
    app.command(epilog="Example: deployd demo --once")(demo)
    app.command(epilog="Example: cd my-model && deployd init")(init)
    app.command(epilog="Example: source <(deployd completion bash)")(completion)


def run(ctx: typer.Context) -> None:
    """Run the daemon until SIGTERM or SIGINT. SIGHUP reloads the config."""
    from deployd.serve import serve  # noqa: PLC0415 - the daemon is large, and no other command needs it

    raise typer.Exit(serve(ctx.args))


def check(
    config: ConfigPath = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the config's JSON Schema instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try everything that a deploy needs. Each fault comes with what to do about it.

    As root it tries the config of deployd.service as that service: with its user, its credentials and its sandbox.
    Exits 78 when the config is wrong, 1 when something cannot be reached.
    """
    from deployd.check.check import check as check_everything  # noqa: PLC0415 - loads the adapters of the daemon
    from deployd.cli import findings  # noqa: PLC0415 - the same

    if schema:
        findings.print_schema()
        return
    path = config or default_path()
    if (service := _service_of(path)) is not None and os.geteuid() == 0:
        err().print(f"As {UNIT} runs: as the user {service.user}, with its credentials, in its sandbox.")
        raise typer.Exit(service.run(["check", "--config", str(path), *(["--json"] if as_json else [])]))
    if service is not None and service.user != getpass.getuser():
        err().print(f"This account sees less than {UNIT} does: `sudo deployd check` runs as it does.", style="yellow")
    found = asyncio.run(check_everything(path))
    findings.print_all(found, as_json=as_json)
    if any(finding.verdict == "wrong" for finding in found):
        raise typer.Exit(CONFIG if any(finding.in_config for finding in found) else FAILED)


def _service_of(config: Path) -> Service | None:
    """The service that runs by this config."""
    service = installed()
    return service if service is not None and service.config == config.absolute() else None


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="End after the last chapter, without waiting for Ctrl-C.")
    ] = False,
) -> None:
    """Show what deployd does, with a model of its own.

    Pushes, serves, breaks and supersedes it on this machine's Docker Engine, and removes everything at the end.
    """
    from deployd.demo import story  # noqa: PLC0415 - loads the parts of the demo

    raise typer.Exit(story.run(once=once))


def init(
    path: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")] = Path(
        "config.toml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a config.toml for the repository in the current directory."""
    from deployd.cli.init import write  # noqa: PLC0415 - only needed here

    write(path, force=force)


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script for completion in a shell. `deployd --install-completion` installs it for this account.

    \b
    bash: put `source <(deployd completion bash)` into ~/.bashrc
    zsh:  put `source <(deployd completion zsh)` into ~/.zshrc, below compinit
    fish: deployd completion fish > ~/.config/fish/completions/deployd.fish
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # noqa: PLC0415 - loads more of typer

    print(get_completion_script(prog_name="deployd", complete_var="_DEPLOYD_COMPLETE", shell=shell))

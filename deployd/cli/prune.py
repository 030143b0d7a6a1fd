"""The command that removes what is beyond `[retention]`, or shows what would go."""

from typing import Annotated

import typer

from deployd.api.answers import PrunedAnswer
from deployd.cli import completion
from deployd.cli.output import AsJson, only_app, out, print_json, with_daemon
from deployd.cli.tables import print_table


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: deployd prune --dry-run")(prune)


def prune(
    app: Annotated[
        str | None,
        typer.Argument(
            metavar="APP",
            help="Only this app.",
            show_default=False,
            callback=only_app,
            autocompletion=completion.apps,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove images and logs beyond [retention], and trim the build cache."""
    answer = with_daemon(lambda client: client.prune(app, dry_run=dry_run))
    if as_json:
        print_json(answer)
    elif not answer.pruned:
        out().print("nothing to remove")
    else:
        rows = [_row(each, dry_run=dry_run) for each in answer.pruned]
        print_table(("WHAT", "SIZE", "DONE", "NAME"), rows, below="NAME")


def _row(each: PrunedAnswer, *, dry_run: bool) -> tuple[str, str, str, str]:
    done = ("would go" if dry_run else "removed") if each.gone else "stays"
    size = f"{each.size / 1e6:.1f} MB" if each.size >= 100_000 else f"{each.size / 1e3:.1f} kB"
    return (each.what, size, f"{done}: {each.note}" if each.note else done, each.name or "-")

"""The commands about deploys: deploy, rollback, cancel, history, diff, plan."""

import re
from typing import Annotated

import typer
from rich.text import Text

from deployd.api.answers import DeployAnswer
from deployd.cli import progress
from deployd.cli.output import AppName, AsJson, ago, out, print_json, print_table, status_text, took, with_daemon
from deployd.client import Client
from deployd.domain import Status
from deployd.exits import FAILED
from deployd.logs.log import printable

Wait = Annotated[
    bool,
    typer.Option("--wait", "-w", help="Show the steps until the deploy ends. Exits 0 when it is live, 1 when not."),
]

_DEPLOY = re.compile(r"([^/]+)/(\d+)")


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd deploy iris v1.2 --wait")(deploy)
    app.command(epilog="Example: deployd rollback iris --to 41")(rollback)
    app.command(epilog="Example: deployd cancel iris/42")(cancel)
    app.command(epilog="Example: deployd history iris --limit 10")(history)
    app.command(epilog="Example: deployd diff iris 41 42")(diff)
    app.command(epilog="Example: deployd plan iris main")(plan)


def named(value: str) -> tuple[str, int]:
    """Split `iris/42` into the app and the number."""
    if (match := _DEPLOY.fullmatch(value)) is None:
        raise typer.BadParameter(f"{value} names no deploy; write APP/NUMBER, such as iris/42")
    return match[1], int(match[2])


def deploy(
    app: AppName,
    commit: Annotated[str | None, typer.Argument(metavar="COMMIT", help="A SHA, branch or tag.")] = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Deploy a commit, or the head of what the app follows."""

    async def ask(client: Client) -> DeployAnswer:
        asked = await client.deploy(app, commit)
        return await progress.wait(client, asked) if wait else asked

    _tell(with_daemon(ask), waited=wait, as_json=as_json)


def rollback(
    app: AppName,
    to: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The number of the release; default: the one before.")
    ] = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier release, from its kept image."""

    async def ask(client: Client) -> DeployAnswer:
        asked = await client.rollback(app, to)
        return await progress.wait(client, asked) if wait else asked

    _tell(with_daemon(ask), waited=wait, as_json=as_json)


def cancel(name: Annotated[str, typer.Argument(metavar="APP/N", help="The deploy, such as iris/42.")]) -> None:
    """Stop a deploy that waits or is in flight."""
    app, number = named(name)
    with_daemon(lambda client: client.cancel(app, number))
    out().print(f"{name} is being cancelled")


def history(
    app: AppName,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=500, help="How many deploys.")] = 20,
    before: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only deploys with a lower number.")] = None,
    as_json: AsJson = False,
) -> None:
    """List an app's deploys, newest first."""
    page = with_daemon(lambda client: client.history(app, limit, before))
    if as_json:
        print_json(page)
        return
    print_table(("DEPLOY", "STATUS", "COMMIT", "SUBJECT", "BY", "WHEN", "TOOK", "REASON"), map(_row, page.deploys))


def diff(
    app: AppName,
    before: Annotated[int, typer.Argument(metavar="A", min=1, help="The number of a deploy.")],
    after: Annotated[int, typer.Argument(metavar="B", min=1, help="The number of the other.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two deploys."""
    answer = with_daemon(lambda client: client.diff(app, before, after))
    if as_json:
        print_json(answer)
        return
    rows = [
        (one.what, *("-" if value is None else str(value) for value in (one.before, one.after)))
        for one in answer.differences
    ]
    print_table(("WHAT", answer.before.name, answer.after.name), rows, whole=True)


def plan(
    app: AppName,
    commit: Annotated[str, typer.Argument(metavar="COMMIT", help="A SHA, branch or tag.")],
    as_json: AsJson = False,
) -> None:
    """Show what deploying a commit would do. Nothing is done."""
    answer = with_daemon(lambda client: client.plan(app, commit))
    if as_json:
        print_json(answer)
        return
    followed = answer.app.branch or answer.app.tag or "the app's ref"
    head = "the head" if answer.head == answer.commit else "not the head"
    out().print(f"{app} {answer.commit[:12]}, {head} of {followed}", style="bold")
    if answer.known is not None:
        out().print(f"deployed before: {answer.known.name} {answer.known.status.predicate}")
    for number, step in enumerate(answer.steps, start=1):
        out().print(f"{number}. {printable(step)}", soft_wrap=True)


def _tell(told: DeployAnswer, *, waited: bool, as_json: bool) -> None:
    if as_json:
        print_json(told)
    elif not waited:
        out().print(
            f"{told.name} {told.status.predicate}: {told.commit[:12]}; follow it with: deployd logs {told.name} -f"
        )
    if waited and told.status not in {Status.LIVE, Status.RETIRED}:
        raise typer.Exit(FAILED)


def _row(one: DeployAnswer) -> tuple[str | Text, ...]:
    by = one.trigger.by or one.trigger.kind
    end = one.live_at or one.finished_at
    duration = took((end - one.started_at).total_seconds()) if end and one.started_at else "-"
    subject = one.subject if len(one.subject) <= 40 else f"{one.subject[:39]}…"
    what = f"back to #{one.rollback_to}" if one.rollback_to else subject
    return (one.name, status_text(one.status), one.commit[:12], what, by, ago(one.created_at), duration, one.reason)

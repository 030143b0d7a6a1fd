"""The commands about deploys: deploy, rollback, cancel, history, diff, plan."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from deployd.api.answers import DeployAnswer
from deployd.api.states import PlanAnswer
from deployd.cli import completion, names, progress
from deployd.cli.output import AppName, AppOrDeploy, AsJson, Output, err, out, print_json, status_text, with_daemon
from deployd.cli.tables import Listing, print_comparison, print_listing
from deployd.cli.times import age, took
from deployd.client import Client
from deployd.domain import model_version
from deployd.errors import RequestRefused
from deployd.exits import FAILED
from deployd.logs.log import printable
from deployd.status import Status

Wait = Annotated[
    bool,
    typer.Option("--wait", "-w", help="Show the steps until the deploy ends. Exits 0 when it is live, 1 when not."),
]

COLUMNS = ("DEPLOY", "STATUS", "COMMIT", "MODEL", "SUBJECT", "BY", "AGE", "TOOK", "REASON")
_WIDE = (
    *("DEPLOY", "STATUS", "COMMIT", "MODEL", "SUBJECT", "AUTHOR"),
    *("BY", "REF", "CREATED", "TOOK", "IMAGE", "SIZE", "REASON"),
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: deployd deploy iris v1.2 --wait")(deploy)
    app.command(epilog="Example: deployd prove iris feature/deeper-tree --wait")(prove)
    app.command(epilog="Example: deployd rollback iris/41")(rollback)
    app.command(epilog="Example: deployd restart iris --wait")(restart)
    app.command(epilog="Example: deployd cancel iris/42")(cancel)
    app.command(epilog="Example: deployd history iris --limit 10")(history)
    app.command(epilog="Example: deployd diff iris/41 iris/42")(diff)
    app.command(epilog="Example: deployd report iris/42 > iris-42.md")(report)
    app.command(epilog="Example: deployd plan iris main")(plan)


def deploy(
    name: Annotated[
        str,
        typer.Argument(
            metavar="APP[/N]",
            help="The name of an app; with /N, the commit of that deploy is deployed again.",
            autocompletion=completion.deploys,
        ),
    ],
    commit: Annotated[str | None, typer.Argument(metavar="COMMIT", help="A SHA, branch or tag.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build the image without the cache, from base images pulled first.")
    ] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="Other predictions are expected: [app.compare] only warns of them.")
    ] = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Deploy a commit, or the head of what the app follows."""

    async def ask(client: Client) -> DeployAnswer:
        found = await names.commit_of(client, name, commit)
        asked = await client.deploy(*found, rebuild=rebuild, accept_changes=accept_changes)
        return await _followed(client, asked, wait=wait, as_json=as_json)

    _end(with_daemon(ask), waited=wait, as_json=as_json)


def prove(
    name: Annotated[
        str,
        typer.Argument(
            metavar="APP[/N]",
            help="The name of an app; with /N, the commit of that deploy is proven.",
            autocompletion=completion.deploys,
        ),
    ],
    commit: Annotated[str | None, typer.Argument(metavar="COMMIT", help="A SHA, branch or tag.")] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Build the image without the cache, from base images pulled first.")
    ] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", "-w", help="Show the steps until it ends. Exits 0 when it is proven, 1 when not."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build a commit and ask all gates of it, without ever switching to it."""

    async def ask(client: Client) -> DeployAnswer:
        asked = await client.prove(*await names.commit_of(client, name, commit), rebuild=rebuild)
        return await _followed(client, asked, wait=wait, as_json=as_json)

    _end(with_daemon(ask), waited=wait, as_json=as_json)


def rollback(
    name: Annotated[
        str,
        typer.Argument(
            metavar="APP[/N]",
            help="The name of an app; with /N, the release to go back to.",
            autocompletion=completion.deploys,
        ),
    ],
    to: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="The number of the release; default: the one before.",
            autocompletion=completion.releases,
        ),
    ] = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier release, from its kept image."""

    app, number = names.parsed(name)
    if number is not None and to not in {None, number}:
        raise typer.BadParameter(f"{name} and --to {to} name two releases")

    async def ask(client: Client) -> DeployAnswer:
        asked = await client.rollback(app, number or to)
        return await _followed(client, asked, wait=wait, as_json=as_json)

    _end(with_daemon(ask), waited=wait, as_json=as_json)


def restart(app: AppName, wait: Wait = False, as_json: AsJson = False) -> None:
    """Roll out the current config with the image of the live release."""

    async def ask(client: Client) -> DeployAnswer:
        return await _followed(client, await client.restart(app), wait=wait, as_json=as_json)

    _end(with_daemon(ask), waited=wait, as_json=as_json)


def cancel(name: AppOrDeploy) -> None:
    """Stop a deploy: the one that is named, else what is in flight, else what waits."""

    async def ask(client: Client) -> str:
        app, number = await names.moving(client, name)
        return (await client.cancel(app, number)).name

    out().print(f"{with_daemon(ask)} is being cancelled")


def history(
    app: AppName,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, max=500, help="How many deploys.")] = 20,
    before: Annotated[int | None, typer.Option(metavar="N", min=1, help="Only deploys with a lower number.")] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """List an app's deploys, newest first."""
    page = with_daemon(lambda client: client.history(app, limit, before))
    if as_json or output == "json":
        print_json(page)
    elif not page.deploys:
        err().print(f"{app} has no deploys")
    elif output == "wide":
        print_listing(Listing(_WIDE, [_wide_row(one) for one in page.deploys]))
    else:
        print_listing(Listing(COLUMNS, [_row(one) for one in page.deploys], cut="SUBJECT", below="REASON"))


def diff(
    deploys: Annotated[
        list[str],
        typer.Argument(
            metavar="APP/A [APP/B]",
            help="Two deploys of an app; of one, what it changed.",
            autocompletion=completion.deploys,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two deploys."""
    app, before, after = names.pair(deploys)
    if before is None and after == 1:
        raise RequestRefused(
            409, f"{app}/1 is the first deploy: there is none before", hint=f"deployd describe {app}/1"
        )
    answer = with_daemon(lambda client: client.diff(app, before or after - 1, after))
    if as_json:
        print_json(answer)
        return
    rows = [
        (one.what, *("-" if value is None else str(value) for value in (one.before, one.after)))
        for one in answer.differences
    ]
    print_comparison(("WHAT", answer.before.name, answer.after.name), rows)


def report(name: AppOrDeploy) -> None:
    """Print the whole record of a deploy as one page in Markdown, to read and to sign."""

    async def ask(client: Client) -> str:
        return await client.report(*await names.newest(client, name))

    sys.stdout.write(with_daemon(ask))


def plan(
    name: AppOrDeploy,
    commit: Annotated[
        str | None, typer.Argument(metavar="COMMIT", help="A SHA, branch or tag; default: the head.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what deploying a commit would do. Nothing is done."""

    async def ask(client: Client) -> PlanAnswer:
        return await client.plan(*await names.commit_of(client, name, commit))

    answer = with_daemon(ask)
    if as_json:
        print_json(answer)
        return
    followed = answer.app.branch or answer.app.tag or "the app's ref"
    head = "the head" if answer.head == answer.commit else "not the head"
    model = f", with {answer.registered.short}" if answer.registered is not None else ""
    out().print(f"{answer.app.name} {answer.commit[:12]}, {head} of {followed}{model}", style="bold", soft_wrap=True)
    if answer.known is not None:
        before = "only proven" if answer.known.prove else "deployed"
        out().print(f"{before} before: {answer.known.name} {answer.known.status.predicate}")
    for number, step in enumerate(answer.steps, start=1):
        out().print(f"{number}. {printable(step)}", soft_wrap=True)


async def _followed(client: Client, asked: DeployAnswer, *, wait: bool, as_json: bool) -> DeployAnswer:
    """The deploy as it ended, if the caller waits; else say how to follow it. A return is done already."""
    if asked.status is Status.LIVE:
        if not as_json:
            out().print(
                f"{asked.name} {asked.status.predicate} again: {asked.commit[:12]}; it was kept running", soft_wrap=True
            )
        return asked
    if wait:
        silent = as_json and not err().is_interactive  # what a script reads may hold both streams
        return await (progress.wait_silently if silent else progress.wait)(client, asked)
    if not as_json:
        how = f"follow it with: deployd logs {asked.name} -f"
        waits = await progress.why_it_waits(client, asked)
        out().print(f"{asked.name} {asked.status.predicate}: {asked.commit[:12]}; {waits or how}", soft_wrap=True)
    return asked


def _end(told: DeployAnswer, *, waited: bool, as_json: bool) -> None:
    if as_json:
        print_json(told)
    if waited and told.status not in {Status.LIVE, Status.RETIRED, Status.PROVEN}:
        raise typer.Exit(FAILED)


def _row(one: DeployAnswer) -> tuple[str | Text, ...]:
    subject = one.subject if len(one.subject) <= 40 else f"{one.subject[:39]}…"
    by = _by(one) if len(_by(one)) <= 12 else f"{_by(one)[:11]}…"
    end_of_row = (_what(one, subject), by, age(one.created_at), _took(one), one.reason)
    return (one.name, status_text(one.status), one.commit[:8], printable(_model(one), 12), *end_of_row)


def _wide_row(one: DeployAnswer) -> tuple[str | Text, ...]:
    begin = (one.name, status_text(one.status), one.commit, _model(one), _what(one, one.subject), one.author or "-")
    size = f"{one.image_size / 1e6:.1f} MB" if one.image_size else "-"
    created = f"{one.created_at:%Y-%m-%dT%H:%M:%SZ}"
    return (*begin, _by(one), one.ref or "-", created, _took(one), one.image or "-", size, one.reason)


def _what(one: DeployAnswer, subject: str) -> str:
    return f"back to #{one.rollback_to}" if one.rollback_to else f"prove: {subject}" if one.prove else subject


def _by(one: DeployAnswer) -> str:
    return one.trigger.by or one.trigger.kind


def _model(one: DeployAnswer) -> str:
    return one.registered.short if one.registered is not None else model_version(one.model) or "-"


def _took(one: DeployAnswer) -> str:
    end = one.live_at or one.finished_at
    return took((end - one.started_at).total_seconds()) if end and one.started_at else "-"

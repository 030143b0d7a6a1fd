"""The command that shows the outcome of a webhook delivery."""

from typing import Annotated

import typer

from deployd.api.answers import DeliveryAnswer, NotKeptAnswer, OutcomeAnswer
from deployd.cli import completion
from deployd.cli.output import AsJson, err, out, print_json, with_daemon
from deployd.cli.tables import print_table
from deployd.cli.times import age
from deployd.logs.log import printable

COLUMNS = ("DELIVERY", "AGE", "REF", "COMMIT", "RESULT")
NOT_KEPT = ("NOT KEPT", "AGE", "WHAT", "REASON")
_MOST_NOT_KEPT = 20


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: deployd delivery 72d3162e-cc78-11e3-81ab-4c9367dc0958")(delivery)


def delivery(
    guid: Annotated[
        str | None,
        typer.Argument(
            metavar="GUID",
            help="The GUID of a delivery; default: the newest, and the last that were refused or ignored since deployd started.",
            autocompletion=completion.deliveries,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what became of a webhook delivery: its deploys, or why there is none."""
    if guid is not None:
        one = with_daemon(lambda client: client.delivery(guid))
        if as_json:
            print_json(one)
        else:
            _print(one)
        return
    page = with_daemon(lambda client: client.deliveries())
    if as_json:
        print_json(page)
        return
    if not page.deliveries:
        err().print("there are no deliveries")
    else:
        print_table(COLUMNS, [_row(one) for one in page.deliveries], cut="REF", below="RESULT")
    if page.not_kept:
        rows = [_not_kept(one) for one in page.not_kept[:_MOST_NOT_KEPT]]
        out().print()
        print_table(NOT_KEPT, rows, cut="WHAT", below="REASON")


def _print(one: DeliveryAnswer) -> None:
    what = one.event
    if one.ref:  # of a delivery from before an upgrade only the GUID is known
        # What tells of a model names no commit.
        told = [f"{printable(ref)} at {commit[:12]}" if commit else printable(ref) for ref, commit in _told(one)]
        what += f" of {', '.join(told)} in {printable(one.repository)}"
    out().print(f"{what}, received {age(one.received_at)} ago", soft_wrap=True)
    print_table(("APP", "RESULT"), [(outcome.app, _result(outcome)) for outcome in one.apps])


def _row(one: DeliveryAnswer) -> tuple[str, ...]:
    results = "; ".join(f"{outcome.app}: {_result(outcome)}" for outcome in one.apps)
    refs, commits = zip(*_told(one), strict=True)
    at = ", ".join(commit[:12] for commit in dict.fromkeys(commits))
    return one.guid, age(one.received_at), printable(", ".join(refs)), at, results


def _told(one: DeliveryAnswer) -> list[tuple[str, str]]:
    """The refs that the delivery told of, and the commit of each."""
    return list(dict.fromkeys([(one.ref, one.commit), *((its.ref, its.named) for its in one.apps if its.ref)]))


def _not_kept(one: NotKeptAnswer) -> tuple[str, ...]:
    """The row of a request that was refused, with its sender, or ignored."""
    if one.status != 200:
        return f"refused with {one.status}", age(one.at), f"{one.forge}, from {one.peer}", one.reason
    what = f"{one.event} to {one.ref} of {one.repository}" if one.ref else f"{one.event} from {one.forge}"
    return "ignored", age(one.at), what, one.reason


def _result(outcome: OutcomeAnswer) -> str:
    """The deploy, `iris/42`; the head, where it was another commit than the delivery named; the reason."""
    said = f"{outcome.app}/{outcome.deploy}" if outcome.deploy is not None else ""
    if outcome.looked_at is not None and outcome.commit and outcome.named and outcome.commit != outcome.named:
        said += f"{', ' if said else ''}the head was {outcome.commit[:12]}"
    return ": ".join(part for part in (said, outcome.reason) if part) or "nothing"

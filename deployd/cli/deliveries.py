"""The command about deliveries: what became of a webhook."""

from typing import Annotated

import typer

from deployd.api.answers import DeliveryAnswer, OutcomeAnswer
from deployd.cli import completion
from deployd.cli.output import AsJson, err, out, print_json, with_daemon
from deployd.cli.tables import print_table
from deployd.cli.times import age
from deployd.logs.log import printable

COLUMNS = ("DELIVERY", "AGE", "REF", "COMMIT", "RESULT")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: deployd delivery 72d3162e-cc78-11e3-81ab-4c9367dc0958")(delivery)


def delivery(
    guid: Annotated[
        str | None,
        typer.Argument(
            metavar="GUID",
            help="The GUID of a delivery; default: the newest deliveries.",
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
        return
    print_table(COLUMNS, [_row(one) for one in page.deliveries], cut="REF", below="RESULT")


def _print(one: DeliveryAnswer) -> None:
    what = one.event
    if one.ref:  # of a delivery from before an upgrade only the GUID is known
        what += f" of {printable(one.ref)} at {one.commit[:12]} in {printable(one.repository)}"
    out().print(f"{what}, received {age(one.received_at)} ago", soft_wrap=True)
    print_table(("APP", "RESULT"), [(outcome.app, _result(outcome, one.commit)) for outcome in one.apps])


def _row(one: DeliveryAnswer) -> tuple[str, ...]:
    results = "; ".join(f"{outcome.app}: {_result(outcome, one.commit)}" for outcome in one.apps)
    return one.guid, age(one.received_at), printable(one.ref), one.commit[:12], results


def _result(outcome: OutcomeAnswer, named: str) -> str:
    """The deploy, `iris/42`; the head, where it was another commit than the delivery named; the reason."""
    said = f"{outcome.app}/{outcome.deploy}" if outcome.deploy is not None else ""
    if outcome.looked_at is not None and outcome.commit and outcome.commit != named:
        said += f"{', ' if said else ''}the head was {outcome.commit[:12]}"
    return ": ".join(part for part in (said, outcome.reason) if part) or "nothing"

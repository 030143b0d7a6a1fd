"""The command about deliveries: what came of a webhook."""

from typing import Annotated

import typer

from deployd.api.answers import DeliveryAnswer, OutcomeAnswer
from deployd.cli.speaking import AsJson, ago, asking, out, say_json, say_table
from deployd.logs.log import printable


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: deployd delivery 72d3162e-cc78-11e3-81ab-4c9367dc0958")(delivery)


def delivery(
    guid: Annotated[
        str | None, typer.Argument(metavar="[GUID]", help="The delivery's GUID; without it, the newest deliveries.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What came of a webhook delivery: its deploys, or why there is none."""
    if guid is not None:
        one = asking(lambda client: client.delivery(guid))
        if as_json:
            say_json(one)
        else:
            _say(one)
        return
    page = asking(lambda client: client.deliveries())
    if as_json:
        say_json(page)
        return
    say_table(("DELIVERY", "RECEIVED", "REF", "COMMIT", "CAME OF IT"), [_row(one) for one in page.deliveries])


def _say(one: DeliveryAnswer) -> None:
    what = one.event
    if one.ref:  # a delivery of before an upgrade is known by its GUID alone
        what += f" of {printable(one.ref)} at {one.commit[:12]} in {printable(one.repository)}"
    out().print(f"{what}, received {ago(one.received_at)}", soft_wrap=True)
    say_table(("APP", "CAME OF IT"), [(outcome.app, _came_of_it(outcome, one.commit)) for outcome in one.apps])


def _row(one: DeliveryAnswer) -> tuple[str, ...]:
    came = "; ".join(f"{outcome.app}: {_came_of_it(outcome, one.commit)}" for outcome in one.apps)
    return one.guid, ago(one.received_at), printable(one.ref), one.commit[:12], came


def _came_of_it(outcome: OutcomeAnswer, named: str) -> str:
    """`iris/42`; with the head where that is not the commit that the delivery named."""
    said = f"{outcome.app}/{outcome.deploy}" if outcome.deploy is not None else ""
    if outcome.looked_at is not None and outcome.commit and outcome.commit != named:
        said += f"{', ' if said else ''}the head was {outcome.commit[:12]}"
    return ": ".join(part for part in (said, outcome.reason) if part) or "nothing"

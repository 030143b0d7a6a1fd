"""How a sender waits for the other side, and that one app's trouble is its own."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from deployd.events import Events
from deployd.reporters.reporter import Later, Refused, Told
from deployd.reporters.sender import Sender
from deployd.status import Status
from deployd.store.outbox import Report
from deployd.store.store import Store
from tests.reporters.conftest import send_all
from tests.store.given import A, B, queued


class Scripted:
    """Answers the next reports with `answers`, and takes all that follow."""

    name = "scripted"
    statuses = frozenset(Status)
    patience = 3600.0

    def __init__(self, *answers: Exception) -> None:
        self._answers: Iterator[Exception] = iter(answers)
        self.taken: list[str] = []

    async def tell(self, report: Report) -> Told:
        for answer in self._answers:
            raise answer
        self.taken.append(f"{report.app}/{report.about}")
        return Told(said="taken")

    async def close(self) -> None:
        return


async def _sender(store: Store, events: Events, *answers: Exception) -> tuple[Sender, Scripted]:
    reporter = Scripted(*answers)
    await store.subscribe({reporter.name: reporter.statuses})
    return Sender(reporter, store, events), reporter


async def test_a_limit_without_a_time_lasts_a_minute_then_twice_as_long(store: Store, events: Events) -> None:
    sender, reporter = await _sender(store, events, *(Later("limit", limited=True) for _ in range(8)))
    await queued(store, A)
    assert [await send_all(sender) for _ in range(8)] == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    await send_all(sender)
    assert reporter.taken == ["iris/1"]


async def test_a_fault_of_the_other_side_is_waited_for_longer_and_longer(store: Store, events: Events) -> None:
    sender, reporter = await _sender(store, events, *(Later("502") for _ in range(9)))
    await queued(store, A)
    pauses = [await send_all(sender) for _ in range(9)]
    assert pauses == pytest.approx([1, 2, 5, 10, 30, 60, 300, 300, 300], rel=0.11)
    await send_all(sender)
    await queued(store, B)
    assert reporter.taken == ["iris/1"]


async def test_a_refused_app_waits_and_the_others_go_on(store: Store, events: Events) -> None:
    sender, reporter = await _sender(store, events, Refused("no access"))
    for app in ("iris", "rose"):
        await queued(store, A, app)
    await send_all(sender)
    assert reporter.taken == ["rose/1"]
    assert sender.trouble == "no access"


async def test_a_report_that_is_given_up_no_longer_waits(store: Store, events: Events) -> None:
    sender, reporter = await _sender(store, events, Refused("never", forever=True))
    await queued(store, A)
    await queued(store, B)
    await send_all(sender)
    assert reporter.taken == ["iris/2"]
    assert sender.trouble == ""


async def test_a_report_that_is_too_old_is_not_sent(
    store: Store, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    sender, reporter = await _sender(store, events)
    await queued(store, A)
    await store._database.write(
        lambda connection: connection.execute("UPDATE outbox SET written_at = written_at - 3700").rowcount
    )
    with suppress(TimeoutError):
        await send_all(sender)
    assert reporter.taken == []
    assert "Gave up 1 report for scripted" in caplog.text

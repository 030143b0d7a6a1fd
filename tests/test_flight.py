"""How a deploy in flight ends: the table of what the end of its task means, and whose request to stop it counts."""

import asyncio
from datetime import UTC, datetime

import pytest
from msgspec import structs

from deployd.domain import Deploy
from deployd.errors import BuildFailed, RolloutFailed, Unavailable
from deployd.flight import Asker, Ending, Flight, ending
from deployd.goal import Trigger
from deployd.status import Status, can_become

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IN_FLIGHT = [Status.QUEUED, Status.BUILDING, Status.CHECKING, Status.ROLLING_OUT]
STOPPED = Ending(Status.QUEUED, "deployd was stopped")
CANCELLED = Ending(Status.CANCELLED, "cancelled by hand")
SUPERSEDED = Ending(Status.SUPERSEDED, "a newer deploy came: iris/9", superseded_by=9)
WITHDRAWN = Ending(Status.QUEUED, "the newer deploy was cancelled")


def _deploy(status: Status = Status.BUILDING) -> Deploy:
    return Deploy("iris", 7, "a" * 40, "refs/heads/main", Trigger("push"), status, NOW)


@pytest.mark.parametrize("status", IN_FLIGHT)
@pytest.mark.parametrize(
    ("error", "asked", "newest", "expected"),
    [
        (BuildFailed("no base", hint="last lines"), None, 0, Ending(Status.FAILED, "no base", "last lines")),
        (RolloutFailed("not ready"), "newer", 9, Ending(Status.FAILED, "not ready")),
        (
            Unavailable("no engine", hint="start it"),
            None,
            0,
            Ending(Status.QUEUED, "no engine", "start it", retry=True),
        ),
        (Unavailable("no engine"), "newer", 9, Ending(Status.QUEUED, "no engine", retry=True)),
        (Unavailable("no engine"), "hand", 0, CANCELLED),
        (BuildFailed("no base"), "hand", 0, Ending(Status.FAILED, "no base")),
        (
            KeyError("x"),
            None,
            0,
            Ending(Status.FAILED, "a bug in deployd: KeyError('x')", "the daemon's log has the traceback"),
        ),
        (None, "stop", 0, STOPPED),
        (None, "stop", 9, STOPPED),
        (None, "hand", 0, CANCELLED),
        (None, "hand", 9, CANCELLED),
        (None, "newer", 9, SUPERSEDED),
        (None, None, 9, SUPERSEDED),  # the cut-over found something newer in the store
        (None, "newer", 0, WITHDRAWN),
        (None, "newer", 3, WITHDRAWN),
    ],
)
def test_the_end_of_its_task_says_what_a_deploy_becomes(
    status: Status, error: BaseException | None, asked: Asker | None, newest: int, expected: Ending
) -> None:
    assert ending(_deploy(status), error, asked, newest) == expected
    assert can_become(status, expected.status)


@pytest.mark.parametrize(
    ("newest", "reason"), [(9, "iris/9 goes first"), (0, "stopped to let another deploy go first")]
)
def test_a_deploy_that_only_proves_its_commit_makes_way_and_waits(newest: int, reason: str) -> None:
    proof = structs.replace(_deploy(), prove=True)
    assert ending(proof, None, "newer", newest) == Ending(Status.QUEUED, reason)
    assert ending(proof, None, "hand", newest) == CANCELLED


@pytest.mark.parametrize("status", [status for status in Status if status.ended])
@pytest.mark.parametrize("error", [None, BuildFailed("no base"), Unavailable("no engine"), KeyError("x")])
@pytest.mark.parametrize("asked", [None, "newer", "hand", "stop"])
def test_a_deploy_that_is_recorded_as_ended_stays_as_it_is(
    status: Status, error: BaseException | None, asked: Asker | None
) -> None:
    assert ending(_deploy(status), error, asked, 9) is None


@pytest.mark.parametrize(
    ("asked", "counts"),
    [
        (["newer"], "newer"),
        (["newer", "hand"], "hand"),
        (["hand", "newer"], "hand"),
        (["newer", "stop"], "stop"),
        (["stop", "newer"], "stop"),
        (["hand", "stop"], "hand"),
        (["stop", "hand"], "hand"),
        (["newer", "stop", "hand", "stop", "newer"], "hand"),
    ],
)
async def test_a_person_goes_before_the_end_of_the_daemon_and_that_before_something_newer(
    asked: list[Asker], counts: Asker
) -> None:
    flight = Flight(_deploy(), asyncio.create_task(_work()))
    for asker in asked:
        flight.stop(asker)
    assert flight.asked == counts
    await asyncio.wait({flight.task})
    assert flight.task.cancelled()


async def test_a_second_request_to_stop_does_not_disturb_the_clean_up_of_the_first() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    began = asyncio.Event()
    flight = Flight(_deploy(), asyncio.create_task(work()))
    await began.wait()
    flight.stop("newer")
    await asyncio.sleep(0)
    flight.stop("hand")
    await asyncio.wait({flight.task})
    assert cleaned.is_set()


async def test_the_exception_of_the_task_is_its_error_but_a_cancellation_is_not() -> None:
    async def fail() -> None:
        raise failure

    failure = BuildFailed("no base")
    ended = [Flight(_deploy(), asyncio.create_task(work)) for work in (fail(), asyncio.sleep(0), _work())]
    ended[2].stop("newer")
    await asyncio.wait({flight.task for flight in ended})
    assert [flight.error() for flight in ended] == [failure, None, None]


async def _work() -> None:
    await asyncio.Event().wait()

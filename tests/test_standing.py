from datetime import UTC, datetime

import pytest

from deployd.domain import AppState, Deploy, Health
from deployd.goal import Goal, Trigger
from deployd.standing import standing
from deployd.status import Status


def deploy(app: str, number: int, status: Status) -> Deploy:
    return Deploy(app, number, "a" * 40, "refs/heads/main", Trigger("poll"), status, datetime(2026, 1, 1, tzinfo=UTC))


LIVE = AppState("iris", live=deploy("iris", 42, Status.LIVE))


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([], "no apps are configured"),
        ([LIVE], "1 of 1 app served: iris/42"),
        ([AppState("rose")], "0 of 1 app served: none"),
        (
            [
                LIVE,
                AppState(
                    "rose",
                    in_flight=deploy("rose", 3, Status.ROLLING_OUT),
                    queued=2,
                    wanted=Goal("b" * 40),
                    held_reason="x",
                ),
            ],
            "1 of 2 apps served: iris/42; under way: rose/3 rolling out; waiting: 2; held: rose",
        ),
    ],
)
def test_it_says_what_serves_and_what_is_under_way(states: list[AppState], said: str) -> None:
    assert standing(states, {}) == said


def test_a_release_that_does_not_serve_is_told() -> None:
    assert standing([LIVE], {"iris": Health("down")}) == "0 of 1 app served: none; unhealthy: iris down"


def test_it_stays_short_however_many_apps_there_are() -> None:
    states = [AppState(f"app-{at}", live=deploy(f"app-{at}", 1, Status.LIVE)) for at in range(1000)]
    assert standing(states, {}).endswith("app-4/1 and 995 more")

"""What `deployd status` says of an app."""

from datetime import UTC, datetime, timedelta

import pytest

from deployd.api.states import AppAnswer, FailedAnswer, HealthAnswer, HeldAnswer, LiveAnswer, OwedAnswer, WatchedAnswer
from deployd.cli.apps import _held, _owed, _remarks, _state, _unwell, _watched
from deployd.domain import HealthState


def test_a_watched_release_says_until_when_and_what_stands_by() -> None:
    watched = WatchedAnswer(until=datetime(2026, 11, 26, 12, 0, 30, tzinfo=UTC), standby=8)
    assert _watched("iris", 9, watched) == (
        "iris/9 is watched until 12:00:30 UTC; iris/8 stands by: `deployd rollback iris` returns to it at once"
    )


def test_a_release_that_failed_its_watch_is_not_called_failed() -> None:
    failed = FailedAnswer(number=9, commit="b" * 40, reason="its container was removed", reverted=True)
    app = AppAnswer(name="iris", live=LiveAnswer(number=8, commit="a" * 40), failed=failed)
    assert [text for text, _ in _remarks(app)] == ["iris/9 was reverted: its container was removed"]


def test_an_app_that_is_held_says_where_why_and_what_ends_it() -> None:
    held = HeldAnswer(commit="b" * 40, reason="rolled back by hand")
    app = AppAnswer(name="iris", live=LiveAnswer(number=9, commit="a" * 40), held=held)
    assert _held(app, held) == (
        "iris is held at #9: rolled back by hand. The next push, or `deployd deploy iris`, ends it."
    )


def test_an_app_that_owes_a_look_says_for_how_long_and_why() -> None:
    owed = OwedAnswer(since=datetime.now(UTC) - timedelta(minutes=5), reason="the remote is away\x1b[31m")
    said = _owed(AppAnswer(name="iris", owed=owed), owed)
    assert said == "iris: no look at its remote for 5m: the remote is away\\u001b[31m"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("down", "iris does not serve as it should (seen 5m ago): its container was removed"),
        ("unready", "iris runs but is not ready (seen 5m ago): its container was removed"),
        ("unknown", "iris cannot be asked (seen 5m ago): its container was removed"),
    ],
)
def test_an_app_that_is_not_well_says_how_it_is_since_when_and_why(state: HealthState, words: str) -> None:
    since = datetime.now(UTC) - timedelta(minutes=5)
    health = HealthAnswer(state=state, detail="its container was removed", since=since)
    app = AppAnswer(name="iris", live=LiveAnswer(number=9, commit="a" * 40), health=health)
    assert _unwell(app, health) == words
    assert _state(app).plain == state


def test_an_app_that_never_got_live_and_whose_newest_deploy_failed_is_not_just_without_a_release() -> None:
    failed = FailedAnswer(number=1, commit="a" * 40, reason="exit code 1")
    assert _state(AppAnswer(name="iris", failed=failed)).plain == "failed"

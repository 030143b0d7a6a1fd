"""What `deployd status` says of an app."""

from datetime import UTC, datetime, timedelta

from deployd.api.answers import AppAnswer, HeldAnswer, LiveAnswer, OwedAnswer
from deployd.cli.apps import _held, _owed


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

"""What `deployd status` says of an app."""

from deployd.api.answers import AppAnswer, HeldAnswer, LiveAnswer
from deployd.cli.apps import _held


def test_an_app_that_is_held_says_where_why_and_what_ends_it() -> None:
    held = HeldAnswer(commit="b" * 40, reason="rolled back by hand")
    app = AppAnswer(name="iris", live=LiveAnswer(number=9, commit="a" * 40), held=held)
    assert _held(app, held) == (
        "iris is held at #9: rolled back by hand. The next push, or `deployd deploy iris`, ends it."
    )

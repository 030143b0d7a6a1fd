"""The messages about the ends of deploys: when there is one, and its words."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from deployd.config.file import parse
from deployd.config.notify import Occasion
from deployd.domain import AppState, Deploy
from deployd.errors import ConfigError
from deployd.goal import Trigger, TriggerKind
from deployd.reporters.message import DEFAULT, News, harmless, is_missed, message, occasions
from deployd.status import Status

BORN = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
ALL: tuple[Occasion, ...] = ("live", "failed", "reverted", "recovered", "held", "missed")


def deploy(number: int = 42, status: Status = Status.LIVE, kind: TriggerKind = "push", **more: Any) -> Deploy:
    """A deploy that ended 72 s after its push."""
    ended = {"finished_at": BORN + timedelta(seconds=72)}
    given = {"subject": "Fix the scaler", "author": "Ada", "commit": f"{number:x}".rjust(40, "a")} | ended | more
    return Deploy(
        app="iris",
        number=number,
        ref="refs/heads/main",
        trigger=Trigger(kind, by=given.pop("by", None)),
        status=status,
        created_at=BORN,
        **given,
    )


def news(one: Deploy, *before: Deploy, held: str = "", live: Deploy | None = None, unseen: bool = False) -> News:
    """What is known two minutes after the push."""
    state = AppState("iris", live=live or (one if one.status is Status.LIVE else None), held_reason=held)
    return News(
        one,
        state,
        before,
        BORN + timedelta(minutes=2),
        link="https://d.example.com/apps/iris/deploys/42",
        unseen=unseen,
    )


@pytest.mark.parametrize(
    ("one", "before", "found"),
    [
        (deploy(), [deploy(41, Status.RETIRED)], ["live"]),
        (deploy(), [], ["live"]),
        (deploy(), [deploy(41, Status.FAILED)], ["recovered", "live"]),
        (deploy(), [deploy(41, Status.REVERTED)], ["recovered", "live"]),
        (deploy(), [deploy(41, Status.SUPERSEDED), deploy(40, Status.FAILED)], ["recovered", "live"]),
        (deploy(), [deploy(41, Status.FAILED, prove=True), deploy(40, Status.RETIRED)], ["live"]),
        (deploy(status=Status.FAILED), [], ["failed"]),
        (deploy(status=Status.REVERTED), [], ["reverted"]),
        (deploy(status=Status.SUPERSEDED), [], []),
        (deploy(status=Status.CANCELLED), [], []),
        (deploy(status=Status.FAILED, prove=True), [], []),
    ],
)
def test_the_occasions_of_an_end(one: Deploy, before: Sequence[Deploy], found: list[Occasion]) -> None:
    assert list(occasions(news(one, *before))) == found


def test_a_failure_says_what_still_serves_and_that_the_app_is_held() -> None:
    one = deploy(status=Status.FAILED, reason="the golden gate refused it: 3 of 5 differ", hint="see the log")
    said = message(news(one, held="iris/42 failed", live=deploy(41)), ALL, {})
    assert said is not None
    assert said.title == "iris/42 failed, iris/41 still serves"
    assert said.body == (
        "Fix the scaler (aaaaaaa by Ada)\n"
        "the golden gate refused it: 3 of 5 differ\n"
        "see the log\n"
        "Nothing is deployed by itself until the next push or `deployd deploy iris`.\n"
        "1 min 12 s\n"
        "https://d.example.com/apps/iris/deploys/42"
    )


def test_a_live_release_in_four_lines() -> None:
    said = message(news(deploy()), ALL, {})
    assert said is not None
    assert (said.title, said.body.count("\n")) == ("iris/42 is live", 2)


def test_the_first_of_a_kind_of_words() -> None:
    titles = [
        found.title
        for one, before in [
            (deploy(), [deploy(41, Status.FAILED)]),
            (deploy(status=Status.REVERTED), []),
            (deploy(kind="rollback", by="ada"), []),
        ]
        if (found := message(news(one, *before, live=None if one.status is Status.LIVE else deploy(41)), ALL, {}))
    ]
    assert titles == [
        "iris/42 is live: iris has recovered",
        "iris/42 was reverted, iris/41 serves again",
        "iris/42 is live",
    ]


@pytest.mark.parametrize(
    ("on", "told"),
    [
        (("live",), True),
        (("recovered",), True),
        (("held",), True),
        (("failed", "reverted"), False),
        (("missed",), False),
    ],
)
def test_there_is_one_message_where_any_of_its_occasions_is_wanted(on: Sequence[Occasion], told: bool) -> None:
    one = news(deploy(kind="rollback"), deploy(41, Status.FAILED), held="rolled back by hand")
    assert (message(one, on, {}) is not None) == told


def _kinds(*kinds: TriggerKind, first: int = 10) -> list[Deploy]:
    """Deploys, newest first."""
    last = first + len(kinds) - 1
    return [deploy(last - at, kind=kind) for at, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("kinds", "first", "missed"),
    [
        (("poll", "poll", "push"), 10, True),
        (("poll", "push"), 10, False),
        (("push", "poll"), 10, False),
        (("poll", "poll", "poll", "push"), 10, False),  # it was told at the one before
        (("poll", "manual", "poll", "push"), 10, True),
        (("poll", "poll"), 1, False),  # the first head is found without a push
        (("poll", "poll", "poll"), 1, True),
        (("poll",), 1, False),
    ],
)
def test_two_heads_in_a_row_that_only_the_poll_has_found(
    kinds: Sequence[TriggerKind], first: int, missed: bool
) -> None:
    one, *before = _kinds(*kinds, first=first)
    assert is_missed(one, before) == missed


def test_a_second_try_of_a_head_is_no_other_head() -> None:
    one, *before = _kinds("poll", "poll", "push")
    assert not is_missed(structs.replace(one, commit=before[0].commit), before)


def test_a_head_that_a_delivery_has_named_since_was_not_missed() -> None:
    one, *before = _kinds("poll", "poll", "push")
    assert list(occasions(news(one, *before, unseen=True))) == ["live", "missed"]
    assert list(occasions(news(one, *before))) == ["live"]
    said = message(news(one, *before, unseen=True), ["missed"], {})
    assert said is not None
    assert "No webhook told of this push" in said.body


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@everyone look", "@\u200beveryone look"),
        ("<!channel> <@U1>", "<\u200b!channel> <\u200b@\u200bU1>"),
        ("[docs](https://evil.example.com)", "[docs]\u200b(https://evil.example.com)"),
        ("one\n\niris/1 is live\n", "one iris/1 is live"),
        ("red \x1b[31m", "red \\u001b[31m"),
        ("{{ 7 * 7 }}", "{{ 7 * 7 }}"),
        ("a & b > c", "a & b > c"),
    ],
)
def test_text_of_a_commit_calls_nobody_and_breaks_out_of_nothing(text: str, said: str) -> None:
    assert harmless(text) == said
    found = message(news(deploy(subject=text)), ALL, {})
    assert found is not None
    assert found.body.splitlines()[0] == f"{said} (aaaaaaa by Ada)"


def test_a_template_of_ones_own() -> None:
    templates: dict[Occasion, str] = {"live": "@here {{ deploy }}\n{{ subject }} by {{ author }}, {{ number + 1 }}"}
    found = message(news(deploy(subject="@here")), ALL, templates)
    assert found is not None
    assert (found.title, found.body) == ("@here iris/42", "@\u200bhere by Ada, 43")


@pytest.mark.parametrize("text", ["{{ nothing }}", "{% if %}", "{{ deploy.__class__.__mro__ }}", "{{ subject.x }}"])
def test_a_template_that_cannot_be_used_is_an_error_of_the_config(text: str) -> None:
    with pytest.raises(ConfigError, match=r"notify\.templates\.live: the template cannot be used"):
        parse({"notify": {"templates": {"live": text}}})


def test_a_template_that_fails_only_now_still_gives_a_message() -> None:
    found = message(news(deploy()), ALL, {"live": "{{ 1 // (number - 42) }}"})
    assert found is not None
    assert found.title == "iris/42 is live"
    assert "the template for live cannot be used" in found.body


def test_the_default_uses_only_known_names() -> None:
    assert parse({"notify": {"templates": {"live": DEFAULT}}}).notify.templates["live"] == DEFAULT

"""How the pages say times, durations, states and remarks."""

from datetime import UTC, datetime, timedelta

import pytest

from deployd.api.pages import words
from deployd.api.states import (
    AppAnswer,
    FailedAnswer,
    HealthAnswer,
    HeldAnswer,
    LiveAnswer,
    OwedAnswer,
    WaitingAnswer,
    WatchedAnswer,
)
from deployd.domain import Deploy
from deployd.goal import Trigger
from deployd.status import Status

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
LIVE = LiveAnswer(number=41, commit="a" * 40)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "just now"),  # another clock
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (12 * 3600 - 1, "11 h ago"),
        (12 * 3600, "27 Nov 00:00 UTC"),
        (26 * 3600, "26 Nov 10:00 UTC"),
        (24 * 3600 * 365, "27 Nov 2025 12:00 UTC"),
    ],
)
def test_a_moment_is_said_as_people_do_and_exactly_after_half_a_day(seconds: float, said: str) -> None:
    assert words.since(NOW - timedelta(seconds=seconds), NOW) == said


def test_the_exact_time_is_beside_the_pointer() -> None:
    markup = words.ago(NOW - timedelta(seconds=90), NOW)
    assert markup == '<time datetime="2026-11-27T11:58:30Z" title="2026-11-27 11:58:30 UTC">1 min ago</time>'
    assert words.ago(None, NOW) == "–"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (41.2, "41 s"),
        (119, "119 s"),
        (125, "2 min 5 s"),
        (180, "3 min"),
        (725, "12 min"),
        (7200, "2 h"),
        (11_400, "3 h 10 min"),
        (40_000, "11 h"),
        (200_000, "2 d"),
        (None, "–"),
    ],
)
def test_a_duration_has_a_unit_that_fits(seconds: float | None, said: str) -> None:
    assert words.lasted(seconds) == said


def test_a_state_is_a_word_and_a_shape_and_never_a_colour_alone() -> None:
    assert words.state("rolling_out") == '<span class="state run"><span aria-hidden="true">▸</span> rolling out</span>'
    assert "&lt;b&gt;" in words.state("<b>")


def test_every_status_has_its_words() -> None:
    assert all(status.replace("_", " ") in words.state(status) for status in Status)


@pytest.mark.parametrize(
    ("trigger", "said"),
    [
        (Trigger("push", "guid"), "pushed"),
        (Trigger("poll"), "found by asking the remote"),
        (Trigger("manual", by="ada"), "asked for by ada"),
        (Trigger("manual"), "asked for by hand"),
        (Trigger("rollback", by="ada"), "rolled back by ada to #7"),
        (Trigger("restart", by="ada"), "restarted by ada"),
        (Trigger("restart"), "restarted for a changed config"),
    ],
)
def test_the_trigger_of_a_deploy_in_words(trigger: Trigger, said: str) -> None:
    deploy = Deploy("iris", 9, "a" * 40, "refs/heads/main", trigger, Status.QUEUED, NOW, rollback_to=7)
    assert words.asked_by(deploy) == said


def test_the_remarks_about_an_app_begin_with_the_worst() -> None:
    app = AppAnswer(
        name="iris",
        live=LIVE,
        paused=True,
        paused_by="ada",
        queued=2,
        health=HealthAnswer(state="down", detail="its container was removed"),
        failed=FailedAnswer(number=42, commit="b" * 40, reason="the golden gate failed", hint="look"),
        owed=OwedAnswer(since=NOW - timedelta(minutes=5), reason="the remote is away"),
        waiting=WaitingAnswer(commit="b" * 40, since=NOW - timedelta(minutes=5), reason="test is not finished"),
        older_config=True,
        watched=WatchedAnswer(until=NOW + timedelta(seconds=30), standby=40),
    )
    said = [(remark.tone, remark.text) for remark in words.remarks(app, NOW)]
    assert said == [
        ("bad", "iris does not serve as it should: its container was removed"),
        ("bad", "iris/42 failed: the golden gate failed. iris/41 goes on serving."),
        ("wait", "iris was paused by ada: 2 deploys wait until it is resumed."),
        ("wait", "iris: its remote could not be looked at for 5 min: the remote is away"),
        ("wait", "iris: bbbbbbbb has waited for its checks for 5 min: test is not finished"),
        ("wait", "iris runs with an older config. A restart rolls out the current one."),
        ("run", "iris/41 is watched until 12:00:30 UTC; iris/40 stands by."),
    ]


def test_a_deploy_that_waits_says_why() -> None:
    deploy = Deploy("iris", 9, "a" * 40, "refs/heads/main", Trigger("push"), Status.QUEUED, NOW, reason="no such host")
    remark = words.why_queued(deploy)
    assert remark is not None
    assert (remark.text, remark.link) == ("iris/9 waits: no such host", "/apps/iris/deploys/9")
    begun = Deploy("iris", 9, "a" * 40, "refs/heads/main", Trigger("push"), Status.BUILDING, NOW, reason="no such host")
    assert words.why_queued(begun) is None


def test_a_held_app_says_why_and_what_ends_it_but_not_twice_what_failed() -> None:
    held = HeldAnswer(commit="b" * 40, reason="rolled back by hand by ada")
    app = AppAnswer(name="iris", live=LIVE, held=held)
    (remark,) = words.remarks(app, NOW)
    assert remark.text == (
        "iris is held at #41: rolled back by hand by ada. The next push ends it, and so does a deploy by hand."
    )
    failed = FailedAnswer(number=42, commit="b" * 40, reason="it failed")
    both = app.model_copy(
        update={"failed": failed, "held": HeldAnswer(commit="b" * 40, reason="iris/42 failed: it failed")}
    )
    assert [remark.text for remark in words.remarks(both, NOW)] == [
        "iris/42 failed: it failed. iris/41 goes on serving."
    ]


def test_a_look_that_is_only_just_owed_is_no_news() -> None:
    owed = OwedAnswer(since=NOW - timedelta(seconds=3), reason="the remote is being looked at")
    assert list(words.remarks(AppAnswer(name="iris", owed=owed), NOW)) == []


@pytest.mark.parametrize(
    ("app", "word"),
    [
        (AppAnswer(name="iris"), "nothing live"),
        (AppAnswer(name="iris", live=LIVE), "live"),
        (AppAnswer(name="iris", live=LIVE, paused=True), "paused"),
        (AppAnswer(name="iris", live=LIVE, held=HeldAnswer(commit="b", reason="x")), "held"),
        (AppAnswer(name="iris", live=LIVE, paused=True, health=HealthAnswer(state="down")), "down"),
        (AppAnswer(name="iris", live=LIVE, configured=False), "not configured"),
    ],
)
def test_an_app_has_one_word_for_how_it_is(app: AppAnswer, word: str) -> None:
    assert words.app_state(app) == word


def test_the_icon_of_a_page_shows_the_worst() -> None:
    assert words.worst(["ok", "bad", "run"]) == "bad"
    assert words.worst(["ok", "run"]) == "run"
    assert words.worst([]) == "idle"


@pytest.mark.parametrize(
    ("what", "said"),
    [(0.94736, "0.9474"), (True, "yes"), (None, "–"), (3, "3"), (["a"], "['a']"), ("x", "x"), (1e9, "1,000,000,000")],
)
def test_a_value_is_readable(what: object, said: str) -> None:
    assert words.value(what) == said


def test_a_size_has_a_unit() -> None:
    assert [words.size(size) for size in (None, 10, 5 * 1024**2, 3 * 1024**3)] == ["–", "10 B", "5 MiB", "3.0 GiB"]

from datetime import UTC, datetime

import pytest

from deployd.delivery import Owed
from deployd.domain import AppState, Deploy, Image, labels, model_version
from deployd.goal import Goal, ModelVersion, Trigger, Wanted
from deployd.status import ACTIVE, RETURN, TRANSITIONS, Status, can_become


def test_every_status_stands_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Status)


@pytest.mark.parametrize("status", [Status.REVERTED, Status.FAILED, Status.SUPERSEDED, Status.CANCELLED, Status.PROVEN])
def test_an_end_becomes_nothing_else(status: Status) -> None:
    assert status.ended
    assert not any(can_become(status, other) for other in Status)


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_a_deploy_in_flight_can_go_back_to_queued_and_can_end(status: Status) -> None:
    ends = {Status.QUEUED, Status.FAILED, Status.SUPERSEDED, Status.CANCELLED}
    assert ends <= TRANSITIONS[status]


def test_a_deploy_that_has_not_begun_can_stay_queued_for_another_reason() -> None:
    assert [status for status in Status if can_become(status, status)] == [Status.QUEUED]


def test_only_a_deploy_that_rolls_out_goes_live_and_a_retired_one_again() -> None:
    assert {status for status in Status if can_become(status, Status.LIVE)} == {Status.ROLLING_OUT, Status.RETIRED}


def test_no_lane_works_on_a_deploy_that_has_ended() -> None:
    assert {status for status in Status if not status.ended} == {Status.QUEUED, *ACTIVE}


def test_the_changes_of_a_return_are_in_the_table_of_transitions() -> None:
    assert all(can_become(now, then) for now, then in RETURN.items())


def test_a_live_deploy_ends_as_retired_or_reverted() -> None:
    assert TRANSITIONS[Status.LIVE] == {Status.RETIRED, Status.REVERTED}


@pytest.mark.parametrize(
    ("trigger", "automatic"),
    [
        (Trigger("push", delivery="g"), True),
        (Trigger("poll"), True),
        (Trigger("manual", by="ada"), False),
        (Trigger("rollback", by="ada"), False),
    ],
)
def test_a_trigger_without_a_person_is_automatic(trigger: Trigger, automatic: bool) -> None:
    assert trigger.automatic is automatic


@pytest.mark.parametrize(
    ("commit", "deleted"), [("0" * 40, True), ("0" * 64, True), ("", True), ("0" * 39 + "1", False)]
)
def test_a_delivery_that_names_no_commit_tells_of_a_deletion(commit: str, deleted: bool) -> None:
    assert Owed(1, "g", commit).names_no_commit is deleted


@pytest.mark.parametrize(
    ("model", "version"),
    [
        ({}, ""),
        ({"commit": "a"}, ""),
        ({"version": "3f2a"}, "3f2a"),
        ({"version": 7}, "7"),
        ({"model": {"version": "1.2"}}, "1.2"),
        ({"model": "iris"}, ""),
    ],
)
def test_the_version_of_a_model_is_what_its_release_says(model: dict[str, object], version: str) -> None:
    assert model_version(model) == version


def _live(commit: str, at: int) -> Deploy:
    trigger = Trigger("push")
    return Deploy("iris", 1, commit, "refs/heads/main", trigger, Status.LIVE, _at(0), live_at=_at(at))


def _at(minute: int) -> datetime:
    return datetime(2026, 1, 1, 12, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "since"),
    [
        (AppState("iris"), None),
        (AppState("iris", owed_since=_at(5)), _at(5)),
        (AppState("iris", wanted=Goal("b"), wanted_at=_at(3)), _at(3)),
        (AppState("iris", wanted=Goal("b"), wanted_at=_at(3), owed_since=_at(2)), _at(2)),
        (AppState("iris", wanted=Goal("b"), wanted_at=_at(3), owed_since=_at(5)), _at(3)),
        (AppState("iris", live=_live("b", 4), wanted=Goal("b"), wanted_at=_at(3)), None),
        (AppState("iris", live=_live("b", 4), wanted=Goal("b"), wanted_at=_at(3), owed_since=_at(5)), _at(5)),
        (AppState("iris", live=_live("a", 1), wanted=Goal("b"), wanted_at=_at(3)), _at(3)),
        (AppState("iris", live=_live("a", 1), wanted=Goal("b"), wanted_at=_at(3), held_reason="failed"), _at(3)),
        (AppState("iris", live=_live("a", 7), wanted=Goal("b"), wanted_at=_at(3), held_reason="by hand"), _at(7)),
        (AppState("iris", live=_live("a", 1)), None),
    ],
    ids=[
        "nothing known",
        "a look is owed",
        "nothing serves yet",
        "a look is owed for longer",
        "a look is owed since",
        "it serves",
        "it serves and a look is owed",
        "the head is on its way",
        "the head failed",
        "a person chose another",
        "no head was ever wanted",
    ],
)
def test_an_app_is_behind_since_its_remote_wanted_what_it_does_not_serve(
    state: AppState, since: datetime | None
) -> None:
    assert state.behind_since() == since


def test_the_commit_that_an_app_does_not_go_to_is_the_wanted_one_while_it_is_held() -> None:
    assert AppState("iris", wanted=Goal("b")).held_commit is None
    assert AppState("iris", wanted=Goal("b"), held_reason="iris/2 failed").held_commit == "b"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.QUEUED, "is queued"),
        (Status.ROLLING_OUT, "is rolling out"),
        (Status.LIVE, "is live"),
        (Status.RETIRED, "was retired"),
        (Status.FAILED, "failed"),
        (Status.CANCELLED, "was cancelled"),
        (Status.SUPERSEDED, "was superseded"),
    ],
)
def test_a_status_has_a_predicate_for_sentences(status: Status, words: str) -> None:
    assert status.predicate == words


def test_an_image_is_run_by_its_digest_once_it_has_one() -> None:
    assert Image("registry/iris", "abc", "sha256:1").reference == "registry/iris:abc"
    assert Image("registry/iris", "abc", "sha256:1", "sha256:2").reference == "registry/iris@sha256:2"


def test_labels_say_whose_a_thing_is() -> None:
    assert labels("one", "iris", 42, Goal("abc")) == {
        "io.deployd.instance": "one",
        "io.deployd.app": "iris",
        "io.deployd.deploy": "42",
        "io.deployd.commit": "abc",
    }
    assert set(labels("one", "iris")) == {"io.deployd.instance", "io.deployd.app"}


def test_what_is_wanted_again_is_the_same_goal_for_another_reason() -> None:
    at, one = datetime(2026, 1, 1, tzinfo=UTC), ModelVersion("iris", "1", "models:/m-1", 1)
    push, restart = Trigger("push", "guid"), Trigger("restart", by="ada")
    deploy = Deploy(
        app="iris",
        number=7,
        commit="a" * 40,
        ref="refs/heads/main",
        trigger=push,
        status=Status.LIVE,
        created_at=at,
        subject="Fix",
        author="Ada",
        rebuild=True,
        registered=one,
    )
    wanted = deploy.again(trigger=restart, target="kubernetes", rollback_to=7)
    assert wanted == Wanted(
        app="iris",
        commit="a" * 40,
        ref="refs/heads/main",
        trigger=restart,
        subject="Fix",
        author="Ada",
        target="kubernetes",
        rollback_to=7,
        registered=one,
    )

import pytest

from deployd.domain import ACTIVE, TRANSITIONS, Image, Status, can_become, labels


def test_every_status_stands_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Status)


@pytest.mark.parametrize(
    "status", [Status.RETIRED, Status.REVERTED, Status.FAILED, Status.SUPERSEDED, Status.CANCELLED]
)
def test_an_end_becomes_nothing_else(status: Status) -> None:
    assert status.ended
    assert not any(can_become(status, other) for other in Status)


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_a_deploy_in_flight_can_go_back_to_queued_and_can_end(status: Status) -> None:
    ends = {Status.QUEUED, Status.FAILED, Status.SUPERSEDED, Status.CANCELLED}
    assert ends <= TRANSITIONS[status]


def test_only_a_deploy_that_rolls_out_goes_live() -> None:
    assert [status for status in Status if can_become(status, Status.LIVE)] == [Status.ROLLING_OUT]


def test_what_was_live_ends_as_retired_or_reverted() -> None:
    assert TRANSITIONS[Status.LIVE] == {Status.RETIRED, Status.REVERTED}


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
    assert labels("one", "iris", 42, "abc") == {
        "io.deployd.instance": "one",
        "io.deployd.app": "iris",
        "io.deployd.deploy": "42",
        "io.deployd.commit": "abc",
    }
    assert set(labels("one", "iris")) == {"io.deployd.instance", "io.deployd.app"}

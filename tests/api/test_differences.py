"""The differences between two deploys."""

from datetime import UTC, datetime

from msgspec.structs import replace

from deployd.api.differences import Difference, differences
from deployd.domain import Deploy, GateResult, Image
from deployd.goal import Trigger
from deployd.status import Status

OLD = Deploy(
    app="iris",
    number=1,
    commit="a" * 40,
    ref="refs/heads/main",
    trigger=Trigger("push", "guid"),
    status=Status.RETIRED,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    image=Image("deployd/iris", "a" * 40, "sha256:1"),
    gates=(GateResult("ready", "passed"), GateResult("golden", "passed", "13 of 13")),
    model={"version": "1", "metrics": {"accuracy": 0.9}},
)


def test_a_deploy_does_not_differ_from_itself() -> None:
    assert differences(OLD, replace(OLD, number=2, created_at=datetime(2027, 1, 1, tzinfo=UTC))) == []


def test_the_config_the_size_of_the_image_and_the_figures_of_gates_count() -> None:
    old = replace(OLD, settings="1", image_size=10, gates=(GateResult("fairness", "passed", figures={"gap": 0.1}),))
    new = replace(OLD, settings="2", image_size=11, gates=(GateResult("fairness", "passed", figures={"gap": 0.2}),))
    assert differences(old, new) == [
        Difference("config", "1", "2"),
        Difference("image size", 10, 11),
        Difference("gate fairness gap", 0.1, 0.2),
    ]


def test_a_gate_that_is_asked_before_and_after_the_switch_is_compared_with_itself() -> None:
    before, after = GateResult("golden", "passed"), GateResult("golden", "failed", "wrong", moment="after")
    old = replace(OLD, gates=(before, replace(after, verdict="passed")))
    assert differences(old, replace(OLD, gates=(before, after))) == [
        Difference("watch golden", "passed", "failed: wrong")
    ]


def test_each_fact_that_changed_is_named_with_both_values() -> None:
    new = replace(
        OLD,
        commit="b" * 40,
        status=Status.LIVE,
        image=Image("deployd/iris", "b" * 40, "sha256:2", "sha256:d"),
        gates=(GateResult("ready", "passed"), GateResult("golden", "failed", "12 of 13")),
        model={"version": "2", "metrics": {"accuracy": 0.95}},
    )
    assert differences(OLD, new) == [
        Difference("commit", "a" * 40, "b" * 40),
        Difference("status", "retired", "live"),
        Difference("image", f"deployd/iris:{'a' * 40}", f"deployd/iris:{'b' * 40}"),
        Difference("image id", "sha256:1", "sha256:2"),
        Difference("digest", None, "sha256:d"),
        Difference("gate golden", "passed", "failed: 12 of 13"),
        Difference("model version", "1", "2"),
        Difference("model metrics.accuracy", 0.9, 0.95),
    ]


def test_a_fact_of_only_one_deploy_is_none_for_the_other() -> None:
    bare = replace(OLD, image=None, gates=(), model={})
    assert Difference("image id", "sha256:1", None) in differences(OLD, bare)
    assert Difference("gate ready", None, "passed") in differences(bare, OLD)

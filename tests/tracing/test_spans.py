"""The spans of a deploy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deployd.domain import Deploy, GateResult, Step
from deployd.goal import Trigger
from deployd.status import Status
from deployd.tracing.spans import spans

BEGAN = datetime(2026, 11, 27, 12, tzinfo=UTC)


def _at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def deploy_of(status: Status = Status.LIVE, **more: Any) -> Deploy:
    steps = (Step("fetch", "done", _at(1), _at(2)), Step("golden", "done", _at(2), _at(5)))
    given = {
        "live_at": _at(6) if status is Status.LIVE else None,
        "finished_at": None if status is Status.LIVE else _at(7),
    }
    return Deploy(
        app="iris",
        number=42,
        commit="a" * 40,
        ref="refs/heads/main",
        trigger=Trigger("push"),
        status=status,
        **{"created_at": BEGAN, "steps": steps, **given, **more},
    )


def test_a_deploy_is_one_span_with_one_below_it_for_each_step() -> None:
    whole, fetch, golden = spans(deploy_of(), "production")
    assert (whole.name, whole.parent, whole.began, whole.ended) == ("deploy iris", None, _at(0), _at(6))
    assert [(one.name, one.began, one.ended, one.parent) for one in (fetch, golden)] == [
        ("fetch", _at(1), _at(2), whole.id),
        ("golden", _at(2), _at(5), whole.id),
    ]
    assert len({whole.trace, fetch.trace, golden.trace}) == 1
    assert len({whole.id, fetch.id, golden.id}) == 3
    assert (whole.attributes["deployd.app"], whole.attributes["deployd.deploy"]) == ("iris", 42)
    assert (whole.attributes["vcs.ref.head.revision"], whole.attributes["vcs.ref.head.name"]) == ("a" * 40, "main")


@pytest.mark.parametrize(
    ("status", "result", "fault"),
    [
        (Status.LIVE, "success", ""),
        (Status.PROVEN, "success", ""),
        (Status.FAILED, "failure", "no such package"),
        (Status.SUPERSEDED, "cancellation", ""),
        (Status.CANCELLED, "cancellation", ""),
    ],
)
def test_how_it_ended_is_its_result_and_only_a_failure_is_an_error(status: Status, result: str, fault: str) -> None:
    whole = spans(deploy_of(status, reason="no such package"), "production")[0]
    assert (whole.attributes["cicd.pipeline.result"], whole.fault) == (result, fault)


def test_the_step_of_a_gate_has_its_verdict() -> None:
    gates = (GateResult("golden", "warned", "1 of 3 differs"), GateResult("golden", "failed", "later", moment="canary"))
    golden = spans(deploy_of(gates=gates), "production")[2]
    assert (golden.attributes["deployd.gate.verdict"], golden.attributes["deployd.gate.detail"]) == (
        "warned",
        "1 of 3 differs",
    )


def test_a_step_that_failed_has_the_reason() -> None:
    steps = (Step("build", "failed", _at(1), _at(2)), Step("x", "cancelled", _at(2), _at(3)))
    _, build, other = spans(deploy_of(Status.FAILED, steps=steps, reason="no such package"), "production")
    assert (build.fault, other.fault) == ("no such package", "")
    assert other.attributes["cicd.pipeline.task.run.result"] == "cancellation"


def test_a_deploy_under_way_has_no_spans_and_neither_has_a_step() -> None:
    assert spans(deploy_of(Status.BUILDING), "production") == []
    running = (Step("drain", "running", _at(6)),)
    assert [span.name for span in spans(deploy_of(steps=running), "production")] == ["deploy iris"]


def test_the_ids_are_the_same_each_time_and_others_for_another_deploy_or_daemon() -> None:
    ids = {one.id for one in spans(deploy_of(), "a")}
    assert ids == {one.id for one in spans(deploy_of(), "a")}
    assert not ids & {one.id for one in spans(deploy_of(), "b")}
    assert not ids & {one.id for one in spans(deploy_of(created_at=_at(-9)), "a")}

"""A deploy as the spans of a trace: one for the deploy, one below it for each step that has ended. Pure.

The ids follow from the deploy, so that a span which is sent twice, or after the others, is in its place. The names of the
attributes are those of OpenTelemetry's conventions for CI/CD where these have one.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from msgspec import Struct

from deployd.domain import Deploy, Step, model_version
from deployd.status import Status

Attributes = Mapping[str, str | int]

_RESULTS = {
    Status.FAILED: "failure",
    Status.SUPERSEDED: "cancellation",
    Status.CANCELLED: "cancellation",
}
_STEP_RESULTS = {"done": "success", "failed": "failure", "cancelled": "cancellation"}


class Span(Struct, frozen=True):
    """One span. `fault` is the reason of a failure; `parent` is None for the deploy itself."""

    trace: int
    id: int
    parent: int | None
    name: str
    began: datetime
    ended: datetime
    attributes: Attributes
    fault: str = ""


def spans(deploy: Deploy, instance: str) -> list[Span]:
    """The spans of a deploy that has ended or is live; none for any other."""
    end = deploy.live_at or deploy.finished_at
    if not deploy.status.ended or end is None:
        return []
    seed = f"{instance} {deploy.name} {deploy.created_at.isoformat()}"
    trace, root = _id(seed, 16), _id(f"{seed} deploy", 8)
    fault = deploy.reason if deploy.status is Status.FAILED else ""
    whole = Span(trace, root, None, f"deploy {deploy.app}", deploy.created_at, end, _of_deploy(deploy), fault)
    steps = [
        Span(
            trace,
            _id(f"{seed} {at} {step.name}", 8),
            root,
            step.name,
            step.started_at,
            step.finished_at,
            _of_step(deploy, step),
            (deploy.reason or "failed") if step.status == "failed" else "",
        )
        for at, step in enumerate(deploy.steps)
        if step.finished_at is not None
    ]
    return [whole, *steps]


def _of_deploy(deploy: Deploy) -> Attributes:
    image, model = deploy.image, model_version(deploy.model)
    return {
        "cicd.pipeline.name": deploy.app,
        "cicd.pipeline.run.id": deploy.name,
        "cicd.pipeline.result": _RESULTS.get(deploy.status, "success"),
        "vcs.ref.head.revision": deploy.commit,
        "vcs.ref.head.name": deploy.ref.removeprefix("refs/heads/").removeprefix("refs/tags/"),
        "deployd.app": deploy.app,
        "deployd.deploy": deploy.number,
        "deployd.commit": deploy.commit,
        "deployd.status": deploy.status.value,
        "deployd.trigger": deploy.trigger.kind,
        "deployd.target": deploy.target,
        **({"deployd.image": image.reference} if image is not None else {}),
        **({"deployd.model.version": model} if model else {}),
    }


def _of_step(deploy: Deploy, step: Step) -> Attributes:
    gate = next((gate for gate in deploy.gates if gate.name == step.name and gate.moment == "before"), None)
    return {
        "cicd.pipeline.task.name": step.name,
        "cicd.pipeline.task.run.result": _STEP_RESULTS.get(step.status, step.status),
        "deployd.app": deploy.app,
        "deployd.deploy": deploy.number,
        **({"deployd.detail": step.detail} if step.detail else {}),
        **({"deployd.gate.verdict": gate.verdict, "deployd.gate.detail": gate.detail} if gate is not None else {}),
    }


def _id(seed: str, size: int) -> int:
    return int.from_bytes(sha256(seed.encode()).digest()[:size], "big")

"""The differences between two deploys of an app, from what is recorded of them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployd.domain import Deploy, GateResult

_ASKED = {"before": "gate", "canary": "canary", "after": "watch"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that differs: `what` names it (`commit`, `gate golden`, `gate evaluate accuracy`, `model metrics.accuracy`), None
    where absent."""

    what: str
    before: Any
    after: Any


def differences(before: Deploy, after: Deploy) -> list[Difference]:
    """Every fact that differs, the most important first."""
    old, new = dict(_facts(before)), dict(_facts(after))
    return [
        Difference(what, old.get(what), new.get(what))
        for what in [*old, *(what for what in new if what not in old)]
        if old.get(what) != new.get(what)
    ]


def _facts(deploy: Deploy) -> Iterator[tuple[str, Any]]:
    for name in ("commit", "ref", "subject", "author", "rollback_to"):
        yield name, getattr(deploy, name) or None
    yield "registered model", deploy.registered.short if deploy.registered is not None else None
    yield "trigger", deploy.trigger.kind
    yield "status", deploy.status.value
    yield "reason", deploy.reason or None
    yield "config", deploy.settings
    if deploy.image is not None:
        yield "image", deploy.image.full_name
        yield "image id", deploy.image.id
        yield "digest", deploy.image.digest
        yield from ((f"base {base.name}", base.digest) for base in deploy.image.bases)
    yield "image size", deploy.image_size
    for gate in deploy.gates:
        told = gate.detail and gate.verdict != "passed"  # a gate that passed tells of times, which always differ
        yield _named(gate), f"{gate.verdict}: {gate.detail}" if told else gate.verdict
    for gate in deploy.gates:
        yield from ((f"{_named(gate)} {what}", value) for what, value in flat("", gate.figures))
    yield from ((f"model {what}", value) for what, value in flat("", deploy.model))


def _named(gate: GateResult) -> str:
    """A gate's name with its moment: the same gate may be asked before the switch, in the canary's steps and in the watch."""
    return f"{_ASKED[gate.moment]} {gate.name}"


def flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The values in nested objects, each with its path: `metrics.accuracy`."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for key, inner in value.items():
        yield from flat(f"{path}.{key}" if path else str(key), inner)

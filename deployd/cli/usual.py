"""How long the steps of a deploy usually take, learnt from earlier ones of its kind, and how far one has come by that. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from deployd.api.answers import DeployAnswer, StepAnswer
from deployd.status import Status

AFTER_LIVE = frozenset({"watch", "drain", "prune"})
_COMPLETE = frozenset({Status.LIVE, Status.RETIRED, Status.REVERTED, Status.PROVEN})


@dataclass(frozen=True, slots=True)
class Estimate:
    """How far a deploy has come: `done` of 1, and the seconds that are `left`; None while a step takes longer than usual."""

    done: float
    left: float | None


def same_kind(deploy: DeployAnswer, earlier: Sequence[DeployAnswer], most: int) -> list[DeployAnswer]:
    """The first `most` of the earlier deploys that took all the steps which `deploy` will take."""
    alike = (one for one in earlier if one.number != deploy.number and one.status in _COMPLETE)
    return [one for one in alike if _kind(one) == _kind(deploy)][:most]


def usual_seconds(earlier: Sequence[DeployAnswer]) -> Mapping[str, float]:
    """The median of each step, in the order of the newest deploy, which comes first."""
    taken: dict[str, list[float]] = {}
    for deploy in earlier:
        for step in steps_of(deploy):
            if step.status == "done" and step.finished_at is not None:
                taken.setdefault(step.name, []).append((step.finished_at - step.started_at).total_seconds())
    return {name: median(seconds) for name, seconds in taken.items()}


def estimate(steps: Sequence[StepAnswer], usual: Mapping[str, float], running_for: float) -> Estimate | None:
    """How far a deploy with these steps has come, whose last one has been running for so long; None when nothing is known.

    A usual step that comes before the last one seen was left out this time.
    """
    if not sum(usual.values()):
        return None
    order = list(usual)
    seen = {step.name: step.status for step in steps}
    reached = max((order.index(name) for name in seen if name in usual), default=-1)
    to_come = sum(usual[name] for at, name in enumerate(order) if at > reached and name not in seen)
    running = sum(usual.get(name, running_for) for name, status in seen.items() if status == "running")
    done = sum(usual.get(name, 0.0) for name, status in seen.items() if status != "running")
    whole = done + running + to_come
    part = done + min(running_for, running)
    return Estimate(part / whole if whole else 0.0, running - running_for + to_come if running_for <= running else None)


def steps_of(deploy: DeployAnswer) -> list[StepAnswer]:
    """The steps until it is live or proven. Of a deploy that began anew, each name once, as it was last."""
    return [step for step in deploy.steps if step.name not in AFTER_LIVE]


def _kind(deploy: DeployAnswer) -> tuple[bool, bool, bool, bool]:
    kept_image = deploy.rollback_to is not None or deploy.trigger.kind == "restart"
    return kept_image, deploy.trigger.kind == "restart", deploy.prove, deploy.rebuild

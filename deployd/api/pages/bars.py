"""The geometry of the small drawings: the last deploys of an app, the steps of a deploy. Pure.

The pages allow no style in their HTML, so a drawing is an SVG with sizes as attributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from deployd.api.pages.words import TONES, lasted, step_lasted
from deployd.domain import Step
from deployd.status import Status
from deployd.store.deploys import Brief

HEIGHT, _WIDE, _GAP, _LEAST = 22, 6, 2, 4


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its position, its tone, and its meaning."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    told: str


def last_deploys(deploys: Sequence[Brief]) -> list[Bar]:
    """A bar for each of the last deploys, the oldest first: its height is the duration, its tone the outcome."""
    longest = max((one.seconds for one in deploys), default=0.0)
    found = []
    for at, one in enumerate(deploys):
        height = _LEAST + (HEIGHT - _LEAST) * (one.seconds / longest if longest else 0.0)
        took = f", {lasted(one.seconds)}" if one.seconds else ""
        told = f"#{one.number} {one.status.replace('_', ' ')}{took}"
        tone = "ok" if one.status is Status.RETIRED else TONES.get(one.status, "idle")
        found.append(Bar(at * (_WIDE + _GAP), round(HEIGHT - height, 1), _WIDE, round(height, 1), tone, told))
    return found


def width(count: int) -> int:
    """The width of the drawing of so many deploys."""
    return max(count * (_WIDE + _GAP) - _GAP, 1)


def step_bars(steps: Sequence[Step], whole: float, now: datetime) -> list[Bar]:
    """The steps of a deploy on a line of 1,000, `whole` seconds long: where each begins and how long it takes."""
    if not steps or whole <= 0:
        return []
    began, found = steps[0].started_at, []
    for step in steps:
        x = 1000 * (step.started_at - began).total_seconds() / whole
        length = step_lasted(step, now)
        wide = max(1000 * length / whole - 2, 3)
        found.append(
            Bar(round(x, 1), 0, round(wide, 1), 10, TONES.get(step.status, "idle"), f"{step.name} {lasted(length)}")
        )
    return found


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a deploy has come: seconds of those that it usually takes, and what it does now."""

    done: float
    usual: float
    now: str
    rest: str


def progress(steps: Sequence[Step], usual: Mapping[str, float], now: datetime) -> Progress | None:
    """The progress, estimated from the durations of each step in the app's earlier deploys; None without those, or when nothing
    runs."""
    running = next((step for step in reversed(steps) if step.status == "running"), None)
    if running is None or not usual:
        return None
    past = {step.name for step in steps if step.status != "running"}
    known = sum(length for name, length in usual.items() if name in past)
    whole = sum(usual.values())
    here = usual.get(running.name)
    spent = step_lasted(running, now)
    done = known + (min(spent, here) if here is not None else 0.0)
    return Progress(round(done, 1), round(whole, 1), running.name, _rest(whole - done, spent, here))


def _rest(left: float, spent: float, usual: float | None) -> str:
    if usual is not None and spent > 1.5 * usual + 5:
        return f"takes longer than usual ({lasted(usual)})"
    return f"about {lasted(max(left, 1))} left"

"""How the pages say things: times, durations, states. Pure.

A state is a word, a shape and a tone (`ok`, `bad`, `wait`, `run`, `idle`), so that nobody needs to see colours.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from markupsafe import Markup

from deployd.api.states import AppAnswer
from deployd.domain import Deploy, Step
from deployd.status import Status
from deployd.wording import counted

SHAPES = {"ok": "✓", "bad": "✗", "wait": "‖", "run": "▸", "idle": "○"}
TONES: dict[str, str] = {
    Status.QUEUED: "wait",
    Status.BUILDING: "run",
    Status.CHECKING: "run",
    Status.ROLLING_OUT: "run",
    Status.LIVE: "ok",
    Status.PROVEN: "ok",
    Status.FAILED: "bad",
    Status.REVERTED: "bad",
    "running": "run",
    "done": "ok",
    "passed": "ok",
    "warned": "wait",
    "not_judged": "idle",
    "down": "bad",
    "unready": "wait",
    "unknown": "wait",
    "paused": "wait",
    "held": "wait",
    "not configured": "wait",
    "nothing live": "idle",
}
_LONG_AGO = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that a person should know about an app: a sentence, and a link to details."""

    tone: str
    app: str
    text: str
    link: str
    hint: str = ""


def ago(moment: datetime | None, now: datetime) -> Markup:
    """A moment as people say it, `5 min ago`, with the exact time beside the pointer; after half a day the exact time itself."""
    if moment is None:
        return Markup("–")
    exact = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    machine = f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(machine, exact, since(moment, now))


def since(moment: datetime, now: datetime) -> str:
    """The same time as `ago`, in words alone. static/page.js updates it in the same words."""
    passed = now - moment
    if passed >= _LONG_AGO:
        day = f"{moment.astimezone(UTC):%d %b}" if moment.year == now.year else f"{moment.astimezone(UTC):%d %b %Y}"
        return f"{day.removeprefix('0')} {moment.astimezone(UTC):%H:%M} UTC"
    minutes = int(passed.total_seconds()) // 60
    if minutes < 1:
        return "just now"
    return f"{minutes} min ago" if minutes < 60 else f"{minutes // 60} h ago"


def lasted(seconds: float | timedelta | None) -> str:
    """`0.3 s`, `42 s`, `2 min 5 s`, `3 h 10 min`, `5 d`."""
    if seconds is None:
        return "–"
    length = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
    if length < 10:
        return f"{max(length, 0):.1f} s"
    whole = round(length)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole < 600 and whole % 60 else "")
    if whole < 172_800:
        return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole < 36_000 and whole % 3600 >= 60 else "")
    return f"{whole // 86_400} d"


def state(word: str, told: str = "") -> Markup:
    """A state as a badge. `told`: other words for it."""
    tone = TONES.get(word, "idle")
    badge = Markup('<span class="state {}"><span aria-hidden="true">{}</span> {}</span>')
    return badge.format(tone, SHAPES[tone], told or word.replace("_", " "))


def took(deploy: Deploy, now: datetime) -> timedelta | None:
    """How long a deploy took until it was live or ended, or has taken so far; None while it has not begun."""
    if deploy.started_at is None:
        return None
    return (deploy.live_at or deploy.finished_at or now) - deploy.started_at


def step_lasted(step: Step, now: datetime) -> float:
    """How long a step took, or has taken so far."""
    return max(((step.finished_at or now) - step.started_at).total_seconds(), 0.0)


def asked_by(deploy: Deploy) -> str:
    """The person or event that asked for a deploy, as the end of a sentence."""
    trigger = deploy.trigger
    by = f" by {trigger.by}" if trigger.by else ""
    match trigger.kind:
        case "push":
            return "pushed"
        case "poll":
            return "found by asking the remote"
        case "model":
            return "a new version of its model"
        case "manual":
            return f"asked for{by}" if by else "asked for by hand"
        case "rollback":
            return f"rolled back{by} to #{deploy.rollback_to}"
        case "restart":
            return f"restarted{by}" if by else "restarted for a changed config"


def app_state(app: AppAnswer) -> str:
    """The state of an app in one word."""
    if not app.configured:
        return "not configured"
    if app.live is not None and app.health is not None and app.health.state != "ok":
        return app.health.state
    if app.paused:
        return "paused"
    if app.held is not None:
        return "held"
    return "live" if app.live is not None else "nothing live"


_UNWELL = {
    "unready": "runs but is not ready",
    "down": "does not serve as it should",
    "unknown": "cannot be checked",
}


def remarks(app: AppAnswer, now: datetime) -> Iterator[Remark]:
    """All that a person should know about an app, the worst first."""
    name, here = app.name, f"/apps/{app.name}"
    if app.health is not None and app.health.state != "ok":
        tone = TONES[app.health.state]
        yield Remark(tone, name, f"{name} {_UNWELL[app.health.state]}: {app.health.detail}", here)
    failed = app.failed
    if failed is not None:
        how = (Status.REVERTED if failed.reverted else Status.FAILED).predicate
        serves = f" {name}/{app.live.number} goes on serving." if app.live is not None else ""
        text = f"{name}/{failed.number} {how}: {failed.reason.rstrip('.')}.{serves}"
        yield Remark("bad", name, text, f"{here}/deploys/{failed.number}", failed.hint)
    if app.held is not None and (failed is None or not app.held.reason.startswith(f"{name}/{failed.number} ")):
        where = f" at #{app.live.number}" if app.live is not None else ""
        text = f"{name} is held{where}: {app.held.reason.rstrip('.')}. The next push ends it, and so does a deploy by hand."
        yield Remark("wait", name, text, here)
    if app.paused:
        by = f" by {app.paused_by}" if app.paused_by else ""
        waits = (
            f"{counted(app.queued, 'deploy')} {'waits' if app.queued == 1 else 'wait'}"
            if app.queued
            else "new deploys wait"
        )
        yield Remark("wait", name, f"{name} was paused{by}: {waits} until it is resumed.", here)
    yield from _remote(app, now)
    if app.older_config:
        yield Remark("wait", name, f"{name} runs with an older config. A restart rolls out the current one.", here)
    if app.watched is not None and app.live is not None:
        until = f"{app.watched.until.astimezone(UTC):%H:%M:%S} UTC"
        text = f"{name}/{app.live.number} is watched until {until}; {name}/{app.watched.standby} stands by."
        yield Remark("run", name, text, here)


def _remote(app: AppAnswer, now: datetime) -> Iterator[Remark]:
    """The reason why nothing is decided now: the remote cannot be read, or its head waits."""
    name, here = app.name, f"/apps/{app.name}"
    if app.owed is not None and app.owed.reason and now - app.owed.since > timedelta(seconds=30):
        what = "its remote" if app.owed.what == "remote" else "the registry of its model"
        text = f"{name}: {what} could not be looked at for {lasted(now - app.owed.since)}: {app.owed.reason}"
        yield Remark("wait", name, text, here)
    if (waiting := app.waiting) is not None:
        text = f"{name}: {waiting.commit[:8]} has waited for its checks for {lasted(now - waiting.since)}: {waiting.reason}"
        yield Remark("wait", name, text, here)


def why_queued(deploy: Deploy) -> Remark | None:
    """Why a queued deploy has not begun, or has to begin again, where that is recorded."""
    if deploy.status is not Status.QUEUED or not deploy.reason:
        return None
    return Remark(
        "wait", deploy.app, f"{deploy.name} waits: {deploy.reason}", f"/apps/{deploy.app}/deploys/{deploy.number}"
    )


def worst(tones: list[str]) -> str:
    """The tone of a whole page, for the icon in the browser's tab."""
    return next((tone for tone in ("bad", "wait", "run", "ok") if tone in tones), "idle")


def size(count: int | None) -> str:
    """`1.2 GiB`."""
    if count is None:
        return "–"
    number = float(count)
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def value(what: Any) -> str:
    """A value of a manifest or a gate: numbers with at most four significant decimals, the rest as it is."""
    if isinstance(what, float):
        return f"{what:.4g}" if abs(what) < 1e6 else f"{what:,.0f}"
    if what is None:
        return "–"
    if isinstance(what, bool):
        return "yes" if what else "no"
    return str(what)


FILTERS = {"ago": ago, "lasted": lasted, "state": state, "size": size, "value": value}

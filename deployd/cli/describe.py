"""`deployd describe`: all that is known of an app or of a deploy, in lines of a name and a value, as kubectl describes things."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.text import Text

from deployd.act import told
from deployd.api.answers import BaseAnswer, DeployAnswer
from deployd.api.states import AppAnswer, DescribeAnswer, HeldAnswer
from deployd.cli.output import out, status_text
from deployd.cli.tables import print_table
from deployd.cli.times import age, took
from deployd.logs.log import printable

_INDENT = "  "
_NAME_WIDTH = 14
_MOMENTS = {"before": "Gate", "canary": "Canary", "after": "Watch"}


def print_app(answer: DescribeAnswer) -> None:
    """Print the app, then its containers or pods."""
    for name, value in _app(answer.app):
        _say(name, value)
    out().print("Running", style="bold")
    for line in _lines(answer.running, _INDENT):
        out().print(line, soft_wrap=True)


def print_deploy(deploy: DeployAnswer) -> None:
    """Print the deploy, its steps, the results of its gates, and its model."""
    for name, value in _deploy(deploy):
        _say(name, value)
    if deploy.steps:
        out().print("Steps", style="bold")
        rows = [
            (f"{_INDENT}{step.name}", step.status, _between(step.started_at, step.finished_at), step.detail)
            for step in deploy.steps
        ]
        print_table((f"{_INDENT}STEP", "STATUS", "TOOK", "DETAIL"), rows)
    for gate in deploy.gates:
        _say(f"{_MOMENTS[gate.moment]} {gate.name}", f"{gate.verdict}: {gate.detail}" if gate.detail else gate.verdict)
        for line in _lines(gate.figures, _INDENT):
            out().print(line, soft_wrap=True)
        for row in gate.rows:
            out().print(f"{_INDENT}{printable(_row(row))}", soft_wrap=True)
    if deploy.model:
        out().print("Model", style="bold")
        for line in _lines(deploy.model, _INDENT):
            out().print(line, soft_wrap=True)


def _app(app: AppAnswer) -> Iterator[tuple[str, str | Text | None]]:
    live, moving = app.live, app.in_flight
    yield "App", app.name if app.configured else f"{app.name} (not in the config)"
    yield "Target", app.target
    yield "Repository", app.repo
    yield "Follows", f"branch {app.branch}" if app.branch else f"tag {app.tag}" if app.tag else None
    yield "Paused", "yes" if app.paused else None
    yield "Held", _held(app.held) if app.held else None
    yield "Look owed", f"since {age(app.owed.since)}: {app.owed.reason}" if app.owed else None
    if app.waiting:
        yield "Checks", f"{app.waiting.commit[:12]} waits since {age(app.waiting.since)}: {app.waiting.reason}"
    yield "Live", f"{app.name}/{live.number}, commit {live.commit}, for {age(live.since)}" if live else "nothing"
    yield "Model", live.registered.short if live is not None and live.registered is not None else None
    yield "Health", f"{app.health.state}: {app.health.detail}".removesuffix(": ") if app.health else None
    if app.watched:
        yield "Watched", f"until {app.watched.until:%H:%M:%S} UTC; {app.name}/{app.watched.standby} stands by"
    if app.failed:
        yield "Reverted" if app.failed.reverted else "Failed", f"{app.name}/{app.failed.number}: {app.failed.reason}"
    yield "Image", live.image if live else None
    yield from _bases(live.bases if live else [])
    yield "In flight", Text(f"{moving.name} ") + status_text(moving.status) if moving else None
    yield "Waiting", str(app.queued) if app.queued else None
    yield "URL", " ".join(app.urls) or None
    yield "By hand", "\n".join(f"{told(act.by, act.done, act.detail)}, {age(act.at)} ago" for act in app.acts)


def _held(held: HeldAnswer) -> str:
    model = f" with {held.registered.short}" if held.registered is not None else ""
    return f"{held.reason} (at commit {held.commit[:12]}{model})"


def _deploy(deploy: DeployAnswer) -> Iterator[tuple[str, str | Text | None]]:
    trigger = deploy.trigger
    end = deploy.live_at or deploy.finished_at
    yield "Deploy", deploy.name
    yield "Status", status_text(deploy.status)
    yield "Reason", deploy.reason
    yield "Hint", deploy.hint
    yield "Replaced by", f"{deploy.app}/{deploy.superseded_by}" if deploy.superseded_by else None
    yield "Commit", deploy.commit
    yield "Model", deploy.registered.short if deploy.registered is not None else None
    yield "Ref", deploy.ref
    yield "Subject", deploy.subject
    yield "Author", deploy.author
    yield "Asked by", " ".join(part for part in (trigger.kind, trigger.by, trigger.delivery) if part)
    yield "Back to", f"{deploy.app}/{deploy.rollback_to}" if deploy.rollback_to else None
    yield "Created", f"{deploy.created_at:%Y-%m-%d %H:%M:%S} UTC, {age(deploy.created_at)} ago"
    yield "Took", _between(deploy.started_at, end) if deploy.started_at and end else None
    yield "Only proven", "it was only to be proven" if deploy.prove else None
    yield "Rebuilt", "without the cache, from pulled base images" if deploy.rebuild else None
    yield "Accepts", "other predictions" if deploy.accept_changes else None
    yield "Image", deploy.image
    yield "Digest", deploy.digest
    yield "Size", f"{deploy.image_size / 1e6:.1f} MB" if deploy.image_size else None
    yield from _bases(deploy.bases)


def _row(row: Mapping[str, Any]) -> str:
    """`case 2: $.y: 0, expected 0.5` where the gate has put it into words, else its parts."""
    if "text" not in row:
        return ", ".join(f"{name} {_short(value)}" for name, value in row.items())
    return f"case {row['case']}: {row['text']}" if "case" in row else str(row["text"])


def _bases(bases: Sequence[BaseAnswer]) -> Iterator[tuple[str, str]]:
    for base in bases:
        yield "Built on", f"{base.name}, {base.digest or 'digest unknown'}"


def _between(begin: datetime, end: datetime | None) -> str:
    return took((end - begin).total_seconds()) if end is not None else "-"


def _say(name: str, value: str | Text | None) -> None:
    if not value:
        return
    lines = [printable(line) for line in value.splitlines()] if isinstance(value, str) else [value]
    for at, line in enumerate(lines):
        out().print(Text(f"{f'{name}:' if at == 0 else '':<{_NAME_WIDTH}} ", "bold") + line, soft_wrap=True)


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Nested values as lines, with what is empty left out."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            label = str(name).replace("_", " ")
            if isinstance(inner, Mapping) or _has_parts(inner):
                if inner:
                    yield f"{indent}{label}:"
                    yield from _lines(inner, indent + _INDENT)
            elif inner not in (None, "", []):
                yield f"{indent}{label}: {_short(inner)}"
    elif isinstance(value, Sequence):
        for inner in value:
            first, *rest = [*_lines(inner, indent + _INDENT)] or [f"{indent}  {_short(inner)}"]
            yield f"{indent}- {first.strip()}"
            yield from rest


def _has_parts(value: Any) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(one, Mapping | list) for one in value)


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_short(one) for one in value)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else printable(str(value))

"""The whole record of a deploy as one page in Markdown, for a person who must sign it off: facts only. Pure."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from deployd.api.differences import differences, flat
from deployd.domain import Deploy, GateResult, model_version
from deployd.logs.log import printable
from deployd.status import Status

_MARKUP = re.compile(r"[\\`*{}\[\]<>#|~]|(?<!\w)_|_(?!\w)")  # an underscore inside a word is none
_LONGEST = 2000
_VERDICTS = {"passed": "passed", "warned": "passed with a warning", "failed": "**failed**", "not_judged": "not judged"}
_MOMENTS = {"before": "before the switch", "canary": "in the canary's steps", "after": "after the switch"}


def report(deploy: Deploy, former: Deploy | None, *, daemon: str, now: datetime) -> str:
    """The page. `former` is the release that served when the deploy came; `daemon` names the daemon that wrote it."""
    parts = [
        f"# {deploy.name}: {deploy.status.value.replace('_', ' ')}",
        _outcome(deploy),
        _table(("", ""), _facts(deploy, former)),
        "## Model",
        _model(deploy),
        "## Gates",
        *_gates(deploy),
        *_changes(deploy, former),
        "## Steps",
        _steps(deploy),
        "## Signature",
        "Name: ______________________________  Date: ____________________  Signature: ______________________________",
        f"Written {_moment(now)} by {_plain(daemon)} from its record.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _outcome(deploy: Deploy) -> str:
    said = f"It {deploy.status.predicate}"
    if deploy.status is Status.PROVEN:
        said += ": all gates were asked, and it was never switched to"
    lines = [f"{said}: {_plain(deploy.reason)}." if deploy.reason else f"{said}."]
    if deploy.prove and deploy.status is not Status.PROVEN:
        lines.append("It was only to be proven, never to serve.")
    return " ".join(lines)


def _facts(deploy: Deploy, former: Deploy | None) -> Iterator[tuple[str, str]]:
    trigger = deploy.trigger
    yield "App", f"{deploy.app}, on {deploy.target}"
    yield "Commit", f"`{deploy.commit}`"
    yield "Registered model", _plain(deploy.registered.short) if deploy.registered is not None else ""
    yield "Subject", _plain(deploy.subject)
    yield "Author", _plain(deploy.author)
    yield "Ref", _plain(deploy.ref)
    yield "Asked by", _plain(" ".join(part for part in (trigger.kind, trigger.by, trigger.delivery) if part))
    yield "Accepts", "other predictions than those of the release before" if deploy.accept_changes else ""
    yield "Back to", f"{deploy.app}/{deploy.rollback_to}" if deploy.rollback_to else ""
    yield "Asked for", _moment(deploy.created_at)
    yield "Begun", _moment(deploy.started_at)
    yield "Live", _moment(deploy.live_at)
    yield "Ended", _moment(deploy.finished_at)
    yield "Served before", f"{former.name}, commit `{former.commit}`, {_version(former)}" if former else "nothing"
    if (image := deploy.image) is not None:
        yield "Image", f"`{image.full_name}`"
        yield "Image id", f"`{image.id}`" if image.id else ""
        yield "Digest", f"`{image.digest}`" if image.digest else ""
        for base in image.bases:
            yield "Built on", _plain(f"{base.name}, {base.digest or 'digest unknown'}")
    yield "Size", f"{deploy.image_size / 1e6:.1f} MB" if deploy.image_size else ""
    yield "Hash of its config", f"`{deploy.settings}`" if deploy.settings else ""


def _model(deploy: Deploy) -> str:
    if not deploy.model:
        return "Nothing is recorded about its model."
    return _table(("what", "value"), ((_plain(what), _value(value)) for what, value in flat("", deploy.model)))


def _gates(deploy: Deploy) -> Iterator[str]:
    if not deploy.gates:
        yield "No gate is recorded."
        return
    yield _table(
        ("gate", "asked", "verdict", "detail"),
        ((_plain(one.name), _MOMENTS[one.moment], _VERDICTS[one.verdict], _plain(one.detail)) for one in deploy.gates),
    )
    for gate in deploy.gates:
        yield from _evidence(gate)


def _evidence(gate: GateResult) -> Iterator[str]:
    """The figures of a gate, and the rows that it names."""
    if gate.figures:
        yield f"### Figures of {_plain(gate.name)}, {_MOMENTS[gate.moment]}"
        yield _table(("figure", "value"), ((_plain(what), _value(value)) for what, value in flat("", gate.figures)))
    if gate.rows:
        yield f"### Rows that {_plain(gate.name)} names, {_MOMENTS[gate.moment]}"
        keys = list(dict.fromkeys(key for row in gate.rows for key in row))
        yield _table([_plain(key) for key in keys], ([_value(row.get(key)) for key in keys] for row in gate.rows))


def _changes(deploy: Deploy, former: Deploy | None) -> Iterator[str]:
    if former is None:
        return
    yield f"## Changes since {former.name}"
    yield _table(
        ("what", former.name, deploy.name),
        ((_plain(one.what), _value(one.before), _value(one.after)) for one in differences(former, deploy)),
    )


def _steps(deploy: Deploy) -> str:
    if not deploy.steps:
        return "No step is recorded."
    rows = [
        (
            _plain(step.name),
            step.status,
            _moment(step.started_at),
            f"{(step.finished_at - step.started_at).total_seconds():.2f} s" if step.finished_at else "",
            _plain(step.detail),
        )
        for step in deploy.steps
    ]
    return _table(("step", "status", "begun", "took", "detail"), rows)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; a row of a name and no value is left out."""
    head = list(columns)
    shown = [list(row) for row in rows]
    kept = [row for row in shown if len(head) > 2 or any(row[1:])]
    lines = [head, ["---"] * len(head), *kept]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _version(deploy: Deploy) -> str:
    version = model_version(deploy.model)
    return f"model {_plain(version)}" if version else "model unknown"


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping | list | tuple):
        return _plain(json.dumps(value, ensure_ascii=False))
    return _plain(str(value))


def _plain(text: str) -> str:
    """The text escaped, so that none of it is markup, on one line."""
    return _MARKUP.sub(r"\\\g<0>", printable(" ".join(text.split()), _LONGEST))


def _moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at is not None else ""

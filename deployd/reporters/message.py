"""The message about the end of a deploy: which occasions it is for, and its words. Pure.

The first line of a rendered template is the title. Text from a commit calls nobody, and does not look like a link to elsewhere.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from deployd.config.notify import NAMES, Occasion, rendered
from deployd.domain import AppState, Deploy
from deployd.logs.log import printable
from deployd.status import Status

_LONGEST = 500
_LATE = timedelta(minutes=2)
_NOTHING = "\u200b"  # no width: it keeps "@everyone", "<!channel>" and "[text](link)" from being read as markup
_STREAK = 2

DEFAULT = """\
{% if event == "recovered" %}{{ deploy }} is live: {{ app }} has recovered
{% elif event == "reverted" %}{{ deploy }} was reverted{% if live %}, {{ live }} serves again{% endif %}

{% elif event == "failed" %}{{ deploy }} failed{% if live %}, {{ live }} still serves{% endif %}

{% else %}{{ deploy }} is live
{% endif %}
{{ subject or commit }} ({{ short }}{% if author %} by {{ author }}{% endif %})
{% if reason %}
{{ reason }}
{% endif %}
{% if hint %}
{{ hint }}
{% endif %}
{% if held %}
Nothing is deployed by itself until the next push or `deployd deploy {{ app }}`.
{% endif %}
{% if missed %}
No webhook told of this push, nor of the one before: only the poll found them. See the deliveries of the webhook on the forge.
{% endif %}
{{ duration }}{% if trigger %}, {{ trigger }}{% endif %}{% if late %}, at {{ late }}{% endif %}

{{ link or url }}
"""


class News(Struct, frozen=True):
    """The data of a message. `before`: the app's deploys before this one, newest first. `link`: to the page of the deploy, `url`:
    where the app serves; empty where there is none. `unseen`: no delivery has named the commit."""

    deploy: Deploy
    state: AppState
    before: Sequence[Deploy]
    now: datetime
    link: str = ""
    url: str = ""
    unseen: bool = False


class Message(Struct, frozen=True):
    """A title and a text. `mood`: services show it as a colour or a picture."""

    title: str
    body: str
    mood: Literal["success", "failure", "info"] = "info"


def occasions(news: News) -> Sequence[Occasion]:
    """The occasions that the end of a deploy is, the most important first; empty when it is no news."""
    deploy, found = news.deploy, list[Occasion]()
    if deploy.prove or deploy.status not in {Status.LIVE, Status.FAILED, Status.REVERTED}:
        return ()
    if deploy.status is Status.LIVE:
        found += ["recovered", "live"] if _was_bad(news.before) else ["live"]
    else:
        found.append("failed" if deploy.status is Status.FAILED else "reverted")
    if news.state.held_reason:
        found.append("held")
    if news.unseen and is_missed(deploy, news.before):
        found.append("missed")
    return found


def is_missed(deploy: Deploy, before: Sequence[Deploy]) -> bool:
    """Whether webhooks fail to arrive: the poll found this head and the one before, but not the one before that, so that it is
    told once. The first head of an app does not count, since it is found without a push."""
    heads: dict[str, str] = {}
    for one in (deploy, *before):
        if one.trigger.kind in {"push", "poll"}:
            heads.setdefault(one.commit, one.trigger.kind)
    kinds = list(heads.values())
    if before and before[-1].number == 1:
        kinds = kinds[:-1]
    streak = next((at for at, kind in enumerate(kinds) if kind != "poll"), len(kinds))
    return streak == _STREAK


def _was_bad(before: Sequence[Deploy]) -> bool:
    """Whether the last deploy that came to an end of its own failed."""
    ends = (one.status for one in before if not one.prove)
    last = next((one for one in ends if one not in {Status.SUPERSEDED, Status.CANCELLED, Status.QUEUED}), None)
    return last in {Status.FAILED, Status.REVERTED}


def message(news: News, wanted: Sequence[Occasion], templates: Mapping[Occasion, str]) -> Message | None:
    """The one message about the end of a deploy, for the first of its occasions that is wanted; None when none is."""
    found = occasions(news)
    event = next((one for one in found if one in wanted), None)
    if event is None:
        return None
    values = _values(news, event if event in templates else found[0], missed="missed" in found)
    text = templates.get(event, DEFAULT)
    try:
        said = rendered(text, values, harmless)
    except ValueError as exc:
        values["hint"] = f"the template for {event} cannot be used: {exc}"
        said = rendered(DEFAULT, values, harmless)
    title, _, body = said.strip().partition("\n")
    body = "\n".join(line for line in map(str.rstrip, body.splitlines()) if line)
    return Message(title.strip(), body, "success" if news.deploy.status is Status.LIVE else "failure")


def _values(news: News, event: Occasion, *, missed: bool) -> dict[str, Any]:
    deploy, live = news.deploy, news.state.live
    ended = deploy.finished_at or deploy.live_at or news.now
    other = live is not None and live.number != deploy.number
    values = {
        "app": deploy.app,
        "author": deploy.author,
        "by": deploy.trigger.by or "",
        "commit": deploy.commit,
        "deploy": deploy.name,
        "duration": _took(
            ended - (deploy.live_at if deploy.status is Status.REVERTED and deploy.live_at else deploy.created_at)
        ),
        "event": event,
        "held": news.state.held_reason,
        "hint": deploy.hint,
        "late": f"{ended:%Y-%m-%d %H:%M} UTC" if news.now - ended > _LATE else "",
        "link": news.link,
        "live": live.name if live is not None and other else "",
        "missed": missed,
        "number": deploy.number,
        "reason": deploy.reason,
        "ref": deploy.ref,
        "short": deploy.commit[:7],
        "subject": deploy.subject,
        "trigger": _asked(deploy),
        "url": news.url,
    }
    assert values.keys() == set(NAMES)  # noqa: S101 - the config checks templates by these
    return values


def _asked(deploy: Deploy) -> str:
    by = f" by {deploy.trigger.by}" if deploy.trigger.by else ""
    match deploy.trigger.kind:
        case "manual":
            return f"deployed by hand{by}"
        case "rollback":
            return f"rolled back{by}"
        case "restart":
            return f"restarted{by}"
        case _:
            return ""


def _took(time: timedelta) -> str:
    seconds = max(time.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def harmless(value: Any) -> Any:
    """A value of a template: text on one line that calls nobody and is no markup."""
    if not isinstance(value, str):
        return value
    text = printable(" ".join(value.split()), _LONGEST)
    return text.replace("@", f"@{_NOTHING}").replace("<", f"<{_NOTHING}").replace("](", f"]{_NOTHING}(")

"""Which apps follow the ref that a push is on, and why none does. Pure."""

import re
from collections.abc import Sequence

from deployd.config.app import App
from deployd.config.globs import ref_matches
from deployd.delivery import Proposal, Push
from deployd.logs.log import printable
from deployd.wording import counted

# Patterns that git itself refuses in a ref name, and the direction marks that can make one read as another.
_NEVER_IN_A_NAME = re.compile(
    r"[\x00-\x20\x7f-\x9f~^:?*\[\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\.\.|@\{|//|/\.|^[./]|[./]$|\.lock(?:/|$)"
)
_MOST_REASONS = 5


def follows(app: App, ref: str) -> bool:
    """Whether `app` follows the full `ref`. Nobody follows one that is not a valid name for a branch or tag."""
    return _why_not(app, ref) is None


def why_ignored(pushes: Sequence[tuple[Push, Sequence[App]]]) -> str:
    """Why none of their repository's apps follows the ref of any of the pushes, each reason once."""
    reasons = list(dict.fromkeys(_why_none(push, apps) for push, apps in pushes))
    more = len(reasons) - _MOST_REASONS
    return "; ".join(reasons[:_MOST_REASONS]) + (f"; and so on for {counted(more, 'other ref')}" if more > 0 else "")


def why_not_proven(shown: Proposal, apps: Sequence[str], *, followed: bool) -> str:
    """Why a pull request is not proven by itself: nobody follows its branch, or it comes from a fork and `apps` would."""
    what = f"pull request {shown.number}"
    if not followed:
        return f"{what} is for {_named(shown.ref)}, which {', '.join(apps)} {'does' if len(apps) == 1 else 'do'} not follow"
    fork = printable(shown.fork or "", 200)
    return (
        f"{what} comes from a fork, {fork}: `deployd prove {apps[0]} {shown.commit}` proves it, if a person wants that"
    )


def _why_none(push: Push, apps: Sequence[App]) -> str:
    """One reason, or each app's own where they differ."""
    if not apps:
        name = printable(push.repository, 200)
        return f'no app is configured for {name}; one with a mirror or a path as its repo needs webhook = "{name}"'
    reasons = {app.name: _why_not(app, push.ref) or "" for app in apps}
    if len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _why_not(app: App, ref: str) -> str | None:
    if not ref_matches(app.ref, ref):
        return f"{_named(ref)} is not what {app.name} follows ({_named(app.ref)})"
    if (fault := _fault(ref)) is not None:
        return f"{_named(ref)} is refused: {fault}"
    return None


def _fault(ref: str) -> str | None:
    name = ref.split("/", 2)[-1]
    if name.startswith("-"):
        return "the name starts with a dash"
    if not name or len(ref) > 1000 or _NEVER_IN_A_NAME.search(name):
        return "that is not a valid name for a branch or tag"
    return None


def _named(ref: str) -> str:
    kind, _, name = ref.removeprefix("refs/").partition("/")
    word = {"heads": "branch", "tags": "tag"}.get(kind)
    return printable(f"{word} {name}" if word and name else ref, 200)

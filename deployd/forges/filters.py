"""Whether an app wants a push: its ref, its paths, and what the committer asked for.

Pure, and before anything is queued, so that a push which is not wanted cancels nothing.
"""

import re
from collections.abc import Sequence

from deployd.config.app import App
from deployd.config.globs import ref_matches, touches
from deployd.domain import Push
from deployd.logs.log import printable

_EVERYTHING = ("**",)
# What git itself refuses in a ref name, and the direction marks that can make one read as another.
_NEVER_IN_A_NAME = re.compile(
    r"[\x00-\x20\x7f-\x9f~^:?*\[\\\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\.\.|@\{|//|/\.|^[./]|[./]$|\.lock(?:/|$)"
)


def refusal(app: App, push: Push) -> str | None:
    """Why `app` does not want `push`; None when it does."""
    if not ref_matches(app.ref, push.ref):
        return f"{_named(push.ref)} is not what {app.name} follows ({_named(app.ref)})"
    if (fault := _fault(push.ref)) is not None:
        return f"{_named(push.ref)} is refused: {fault}"
    if push.deleted:
        return f"{_named(push.ref)} was deleted; what runs stays"
    if push.skip is not None:
        return f"the head commit says {push.skip}"
    if push.paths is not None and app.paths != _EVERYTHING and not touches(app.paths, push.paths):
        return f"nothing that {app.name} is made from was touched ({_shown(app.paths)})"
    return None


def follows(app: App, push: Push) -> bool:
    """Whether the push moves what `app` follows to a commit, wanted or not."""
    return ref_matches(app.ref, push.ref) and _fault(push.ref) is None and not push.deleted


def why_ignored(push: Push, refusals: Sequence[tuple[App, str]]) -> str:
    """One reason for a push that none of the repository's apps wants; each app's own where they differ."""
    if not refusals:
        return f"no app is configured for {printable(push.repository, 200)}"
    reasons = [reason for _, reason in refusals]
    if len(set(reasons)) == 1:
        return reasons[0]
    return "; ".join(f"{app.name}: {reason}" for app, reason in refusals)


def _fault(ref: str) -> str | None:
    name = ref.split("/", 2)[-1]
    if name.startswith("-"):
        return "the name starts with a dash"
    if not name or len(ref) > 1000 or _NEVER_IN_A_NAME.search(name):
        return "that is no name for a branch or tag"
    return None


def _named(ref: str) -> str:
    kind, _, name = ref.removeprefix("refs/").partition("/")
    word = {"heads": "branch", "tags": "tag"}.get(kind)
    return printable(f"{word} {name}" if word and name else ref, 200)


def _shown(patterns: Sequence[str]) -> str:
    return printable(", ".join(patterns), 200)

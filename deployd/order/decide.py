"""Decides which ref of a remote is the head of an app, whether its commit is taken or skipped, and what is deployed then.

Pure. This is the only place that decides it: looks, `plan` and `check` find the head by `head_of`, and call `decide` with what
reading.py reads for it.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from msgspec import Struct

from deployd.config.app import App
from deployd.config.globs import ref_matches, touches
from deployd.goal import Head, Known, ModelVersion, Skip, Wait
from deployd.logs.log import printable
from deployd.order.marks import skip_mark
from deployd.order.version import version_of

_EVERYTHING = ("**",)


def head_of(app: App, refs: Mapping[str, str]) -> Head | None:
    """The head among `refs`, the refs of the remote that the app follows: its branch, or the tag with the highest version.

    None when there is none. A tag that is not a version counts only when the app names exactly that tag.
    """
    if app.ref in refs:
        return Head(app.ref, refs[app.ref])
    versions = {ref: version for ref in refs if (version := version_of(ref)) is not None}
    if not versions:
        return None
    ref = max(versions, key=lambda one: (versions[one], one))
    return Head(ref, refs[ref])


def why_no_head(app: App, refs: Mapping[str, str]) -> str:
    """Why `head_of` found no head."""
    if not refs:
        return f"the remote has no {app.ref}"
    return f"no ref that matches {app.ref} is a version: {_shown(sorted(refs))}"


class Seen(Struct, frozen=True):
    """What was read of the commit of a head: its message; the files that differ from the commit that was wanted last, None when
    that is unknown; why its checks are not green, empty when they are or need not be, and the seconds that it has waited."""

    message: str = ""
    changed: AbstractSet[str] | None = None
    not_green: str = ""
    waited: float = 0.0


def decide(app: App, head: Head, known: Known, seen: Seen) -> Head | Skip | Wait | None:
    """What becomes of a head: it is deployed, skipped, or waits for its checks. None when it is the one decided upon last."""
    if head.goal == known.decided:
        return None
    if only_the_model_moved(head, known):
        return head
    reason = _why_skipped(app, head, known, seen)
    if reason:
        return Skip(reason, _with_the_commit_before(head, known))
    if seen.not_green:
        return Wait(seen.not_green, _with_the_commit_before(head, known))
    return head


def needs_commit(head: Head, known: Known) -> bool:
    """Whether `decide` needs to know anything of the commit of the head."""
    return head.goal != known.decided and not only_the_model_moved(head, known)


def needs_diff(app: App) -> bool:
    """Whether `decide` needs to know the changed files."""
    return app.paths != _EVERYTHING


def _why_skipped(app: App, head: Head, known: Known, seen: Seen) -> str:
    """Why the commit of a head is not taken; empty when it is. The ref that was wanted last does not count when the app follows
    others by now. When the changed files are unknown, all files count as changed."""
    wanted_ref = known.wanted_ref
    if wanted_ref is not None and ref_matches(app.ref, wanted_ref) and is_lower(head.ref, wanted_ref):
        return f"{printable(head.ref)} is a lower version than {wanted_ref}, which was wanted last"
    if (mark := skip_mark(seen.message)) is not None:
        return f"the commit's message says {printable(mark)}"
    if seen.changed is not None and needs_diff(app) and not touches(app.paths, seen.changed):
        return f"no file under paths changed ({_shown(app.paths)})"
    if seen.not_green and seen.waited >= app.checks.within:
        return f"its checks were not green in time: {seen.not_green}"
    return ""


def _with_the_commit_before(head: Head, known: Known) -> Head | None:
    """The new version of the model with the commit that was wanted last; None when the version is not new."""
    before = known.wanted
    if before is None or before.registered == head.registered:
        return None
    return Head(known.wanted_ref or head.ref, before.commit, head.registered)


def only_the_model_moved(head: Head, known: Known) -> bool:
    """Whether the commit of the head is the one that was wanted last, and its version of the model is not."""
    before = known.wanted
    return before is not None and before.commit == head.commit and before.registered != head.registered


def last_known(app: App, known: Known) -> ModelVersion | None:
    """The version of the app's model that was seen last; None when none of that name was."""
    if known.seen is None or app.model is None or known.seen.name != app.model.name:
        return None
    return known.seen


def is_lower(ref: str, wanted_ref: str) -> bool:
    """Whether `ref` is a tag of a lower version than the tag that was wanted last. The live release then stays."""
    if not (ref.startswith("refs/tags/") and wanted_ref.startswith("refs/tags/")):
        return False
    version, wanted = version_of(ref), version_of(wanted_ref)
    return version is not None and wanted is not None and version < wanted


def _shown(patterns: Sequence[str]) -> str:
    return printable(", ".join(patterns), 200)

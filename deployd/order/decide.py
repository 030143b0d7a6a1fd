"""Decides which ref of a remote is the head of an app, whether its commit is taken or skipped, and what is deployed then.

Pure. This is the only place that decides it: looks, `plan` and `check` all call it.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from deployd.config.app import App
from deployd.config.globs import ref_matches, touches
from deployd.goal import Head, Known, ModelVersion, Skip
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


def needs_diff(app: App) -> bool:
    """Whether `decide` needs to know the changed files."""
    return app.paths != _EVERYTHING


def decide(app: App, head: Head, wanted_ref: str | None, message: str, changed: AbstractSet[str] | None) -> Skip | None:
    """Why the app skips the commit of a head; None when the app wants it.

    `wanted_ref` is the ref that was wanted last; it does not count when the app follows others by now. `message` is the message
    of the head commit, `changed` the files that differ from the commit that was wanted last. When `changed` is None (unknown),
    all files count as changed.
    """
    if wanted_ref is not None and ref_matches(app.ref, wanted_ref) and is_lower(head.ref, wanted_ref):
        return Skip(f"{printable(head.ref)} is a lower version than {wanted_ref}, which was wanted last")
    if (mark := skip_mark(message)) is not None:
        return Skip(f"the commit's message says {printable(mark)}")
    if changed is not None and needs_diff(app) and not touches(app.paths, changed):
        return Skip(f"no file under paths changed ({_shown(app.paths)})")
    return None


def wanted_of(head: Head, known: Known, skip: Skip | None) -> Head | Skip:
    """What is deployed of a head whose commit is taken, or skipped: then a new version of the model is deployed with the commit
    that was wanted last."""
    if skip is None:
        return head
    before = known.wanted
    if before is None or before.registered == head.registered:
        return skip
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

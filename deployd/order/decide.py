"""What an app wants of what its remote shows: which ref is its head, and whether that head is deployed or skipped.

Pure, and the only place that decides it: the look, `plan` and `check` ask here, whatever made them ask.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from deployd.config.app import App
from deployd.config.globs import touches
from deployd.domain import Head, Skip
from deployd.logs.log import printable
from deployd.order.marks import skip_mark
from deployd.order.version import version_of

_EVERYTHING = ("**",)


def head_of(app: App, refs: Mapping[str, str]) -> Head | None:
    """The head among `refs`, those of the remote that the app follows: its branch, or of several tags the highest version.

    None when there is none; a tag that is no version counts only where the app names just that one.
    """
    if app.ref in refs:
        return Head(app.ref, refs[app.ref])
    versions = {ref: version for ref in refs if (version := version_of(ref)) is not None}
    if not versions:
        return None
    ref = max(versions, key=lambda one: (versions[one], one))
    return Head(ref, refs[ref])


def why_no_head(app: App, refs: Mapping[str, str]) -> str:
    """Why `head_of` finds none."""
    if not refs:
        return f"the remote has no {app.ref}"
    return f"no ref that matches {app.ref} is a version: {_shown(sorted(refs))}"


def needs_diff(app: App) -> bool:
    """Whether the files that changed can make a difference to `decide`."""
    return app.paths != _EVERYTHING


def decide(app: App, head: Head, wanted_ref: str | None, message: str, changed: AbstractSet[str] | None) -> Skip | None:
    """Why the app skips a head; None when it wants it.

    `wanted_ref` is the ref that was wanted last, `message` the head commit's, `changed` the files that differ from the commit
    that was wanted last; None when that is not known: then everything counts as changed.
    """
    if is_lower(head.ref, wanted_ref):
        return Skip(f"{printable(head.ref)} is a lower version than {wanted_ref}, which was wanted last")
    if (mark := skip_mark(message)) is not None:
        return Skip(f"the commit's message says {printable(mark)}")
    if changed is not None and needs_diff(app) and not touches(app.paths, changed):
        return Skip(f"no file under paths changed ({_shown(app.paths)})")
    return None


def is_lower(ref: str, wanted_ref: str | None) -> bool:
    """Whether `ref` is a tag of a lower version than the one that was wanted last, which is gone then: what runs stays."""
    if wanted_ref is None or not (ref.startswith("refs/tags/") and wanted_ref.startswith("refs/tags/")):
        return False
    version, wanted = version_of(ref), version_of(wanted_ref)
    return version is not None and wanted is not None and version < wanted


def _shown(patterns: Sequence[str]) -> str:
    return printable(", ".join(patterns), 200)

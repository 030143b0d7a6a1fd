"""GitHub's webhooks: is the delivery genuine, and what does it say. Pure: bytes and headers in, values out.

`headers` maps lower-case names to values, repeated ones joined by a comma, so that what must be there once fails its pattern
when it comes twice. What GitHub does not sign (event name, GUID) is checked against the body's shape and a narrow pattern.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from deployd.domain import Delivery, Ignored, Ping, Push
from deployd.errors import DeliveryRejected
from deployd.log import printable

NAME = "github"

# Past these GitHub leaves commits and files out of the payload without saying so.
MOST_COMMITS = 2048
MOST_FILES = 3000

_SIGNATURE = re.compile(rb"sha256=[0-9a-f]{64}")
_GUID = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._:-]{0,99}")
_EVENT = re.compile(rb"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REPOSITORY = re.compile(r"[^/\s]{1,100}/[^/\s]{1,100}")
_SKIP = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip|skip deploy)\]", re.IGNORECASE)
_PARAGRAPHS = re.compile(r"\n[ \t\r]*\n")
_SKIP_TRAILER = re.compile(r"^skip-checks:[ \t]*true[ \t\r]*$", re.IGNORECASE | re.MULTILINE)


def verify(raw: bytes, headers: Mapping[bytes, bytes], secrets: Sequence[bytes]) -> bool:
    """Whether `raw` was signed with one of `secrets` by HMAC-SHA256. All are tried, in constant time; SHA-1 never counts."""
    given = headers.get(b"x-hub-signature-256", b"")
    if _SIGNATURE.fullmatch(given) is None:
        return False
    signature = bytes.fromhex(given[7:].decode())
    genuine = False
    for secret in secrets:
        genuine |= hmac.compare_digest(hmac.digest(secret, raw, "sha256"), signature)
    return genuine


def delivery(headers: Mapping[bytes, bytes]) -> Delivery:
    """The GUID and event name of a verified delivery; DeliveryRejected 400 when one is missing or odd."""
    event, guid = headers.get(b"x-github-event", b""), headers.get(b"x-github-delivery", b"")
    if _EVENT.fullmatch(event) is None:
        raise DeliveryRejected(
            400, "X-GitHub-Event is missing or malformed", hint="GitHub sends it with every delivery"
        )
    if _GUID.fullmatch(guid) is None:
        raise DeliveryRejected(
            400, "X-GitHub-Delivery is missing or malformed", hint="GitHub sends a GUID with every delivery"
        )
    return Delivery(NAME, guid.decode("ascii"), event.decode("ascii"))


def parse(event: str, body: Mapping[str, Any]) -> Push | Ping | Ignored:
    """What the verified body of that event says; DeliveryRejected 400 when it has not the event's shape.

    For a tag `after` is the commit that it leads to, where the payload's own `after` may be the tag object.
    """
    if event == "push":
        return _push(body)
    if event == "ping":
        _field(body, "zen", str)
        _field(body, "hook_id", int)
        return Ping()
    return Ignored(f"event {event} does not deploy")


def _push(body: Mapping[str, Any]) -> Push:
    ref, before, after = _field(body, "ref", str), _sha(body, "before"), _sha(body, "after")
    created, deleted, forced = (_field(body, name, bool) for name in ("created", "deleted", "forced"))
    head: dict[str, Any] | None = None if body.get("head_commit", 0) is None else _field(body, "head_commit", dict)
    commits = _list(body, "commits", dict)
    repository = _field(_field(body, "repository", dict), "full_name", str)
    if _REPOSITORY.fullmatch(repository) is None:
        raise _mismatch("repository.full_name")
    deleted = deleted or not after.strip("0")
    created = created or not before.strip("0")
    if head is not None and ref.startswith("refs/tags/"):
        after = _sha(head, "id")
    unknown = forced or created or (not commits and before != after)
    paths = _paths(commits)
    message = "" if head is None else _field(head, "message", str)
    return Push(
        repository=repository,
        ref=ref,
        before=before,
        after=after,
        created=created,
        deleted=deleted,
        forced=forced,
        paths=None if unknown else paths,
        subject=printable(message.lstrip().partition("\n")[0].rstrip(), 200),
        author="" if head is None else printable(_field(_field(head, "author", dict), "name", str), 100),
        skip=_skip(message),
    )


def _paths(commits: Sequence[Mapping[str, Any]]) -> frozenset[str] | None:
    """Every file that the commits touch; None when GitHub may have left some out."""
    found: set[str] = set()
    complete = len(commits) < MOST_COMMITS
    for commit in commits:
        files = _list(commit, "added", str) + _list(commit, "removed", str) + _list(commit, "modified", str)
        complete = complete and len(files) < MOST_FILES
        found.update(files)
    return frozenset(found) if complete else None


def _skip(message: str) -> str | None:
    """The marker by which the committer asks for no deploy; a trailer counts in the last of several paragraphs."""
    if "[" in message and (found := _SKIP.search(message)):
        return found[0]
    *before, last = _PARAGRAPHS.split(message.rstrip())
    return "skip-checks: true" if before and _SKIP_TRAILER.search(last) else None


T = TypeVar("T")


def _field(body: Mapping[str, Any], name: str, kind: type[T]) -> T:
    value = body.get(name)
    # By the exact type: a bool is an int to isinstance.
    if type(value) is not kind:
        raise _mismatch(name)
    return value


def _sha(body: Mapping[str, Any], name: str) -> str:
    value = _field(body, name, str)
    if _SHA.fullmatch(value) is None:
        raise _mismatch(name)
    return value


def _list(body: Mapping[str, Any], name: str, kind: type[T]) -> list[T]:
    values: list[T] = _field(body, name, list)
    for value in values:
        if type(value) is not kind:
            raise _mismatch(name)
    return values


def _mismatch(name: str) -> DeliveryRejected:
    hint = "the body must be what GitHub sends with the event that X-GitHub-Event names"
    return DeliveryRejected(400, f"the body has not the shape of its event: {name}", hint=hint)

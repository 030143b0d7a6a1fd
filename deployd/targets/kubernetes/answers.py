"""The API server's refusals and warnings, in our words.

A refusal of a policy is told apart from a missing right, expired credentials and a busy server, whatever its status: a policy or
an admission webhook chooses the status itself. Knows no request and no app.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from deployd.errors import DeploydError, RolloutFailed, Unavailable
from deployd.targets.kubernetes.words import by_a_policy

_TEMPORARY = frozenset({429, 500, 502, 503, 504})
# Another object was counted at the same moment; the request itself conflicts with nothing.
_COUNTED = "Operation cannot be fulfilled on resourcequotas"
# Old servers answer 500 to an object with a value of the wrong type.
_WRONG_TYPE = "failed to create typed patch object"
_BY_A_QUOTA = re.compile(r"exceeded quota|failed quota")
_MISSING_RIGHT = re.compile(r'User ".*" cannot \w+ resource', re.DOTALL)
# `299 - "text"`, perhaps with a date behind it; several may stand in one header.
_WARNING = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')
_LONGEST = 1000
_MOST_BYTES = 64 * 1024


class Refused(RolloutFailed):
    """The API server refused a request; `status` is the HTTP status, `reason` the reason in its answer.

    `denied`: by a policy of the cluster, or an admission webhook. Asking again changes nothing."""

    def __init__(self, status: int, reason: str, message: str, *, denied: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason
        self.denied = denied

    @property
    def conflict(self) -> bool:
        """Whether it is 409 of the API server itself: the object has changed, or a field has another manager."""
        return self.status == 409 and not self.denied


class Gone(DeploydError):
    """410: the API server no longer has the version at which a watch was to continue; list again."""


class Expired(DeploydError):
    """401: the credentials are wrong or have expired."""


async def check(answer: aiohttp.ClientResponse) -> None:
    """Raise the error in an answer, if it is one."""
    if answer.status < 300:
        return
    text = (await _beginning(answer.content)).decode("utf-8", "replace")
    try:
        status = json.loads(text)
    except ValueError:
        status = None
    message = str(status.get("message", text)) if isinstance(status, dict) else text
    reason = str(status.get("reason", "")) if isinstance(status, dict) else ""
    raise refusal(answer.status, answer.url.path, reason, message.strip())


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """The beginning of an answer, as long as is useful. It may come in pieces."""
    found = bytearray()
    while len(found) < _MOST_BYTES and (piece := await content.read(_MOST_BYTES)):
        found += piece
    return bytes(found)


def refusal(status: int, path: str, reason: str, message: str) -> DeploydError:
    """The error for an answer of that status, with the reason and message of its body. Pure."""
    if by_a_policy(message):
        hint = "a policy of the cluster refuses it: change what it names, or ask those who run the cluster"
        return Refused(status, reason, " ".join(message.split())[:_LONGEST], denied=True, hint=hint)
    if status == 410:
        return Gone(f"{path}: {message}")
    if status == 401:
        return Expired(f"the cluster answered 401 for {path}")
    if (status in _TEMPORARY and _WRONG_TYPE not in message) or _COUNTED in message:
        return Unavailable(f"the cluster answered {status} for {path}: {message[:300]}")
    return Refused(
        status, reason, message[:_LONGEST] or f"{path}: the API server answered {status}", hint=_hint(message)
    )


def _hint(message: str) -> str:
    if _MISSING_RIGHT.search(message):
        return "give deployd's account the verbs of the Roles in kubernetes/; `deployd check` names what is missing"
    return "raise the quota of the namespace, or ask for less" if _BY_A_QUOTA.search(message) else ""


def warnings_in(headers: Iterable[str]) -> Iterator[str]:
    """The texts of an answer's `Warning` headers."""
    for header in headers:
        for quoted in _WARNING.findall(header):
            yield re.sub(r"\\(.)", r"\1", quoted)


@contextmanager
def translated() -> Iterator[None]:
    """Raise errors of aiohttp as Unavailable; cancellation and our own errors pass."""
    try:
        yield
    except (aiohttp.ClientError, HttpProcessingError, TimeoutError, ConnectionError, json.JSONDecodeError) as exc:
        what = str(exc) or type(exc).__name__
        raise Unavailable(f"the cluster does not answer: {what}", hint="check that its API server is up") from exc

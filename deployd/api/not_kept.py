"""The last webhook requests that were answered and not stored: refused ones, and genuine ones that concern no app.

Held in memory alone. Whoever reaches the door can fill the list of the refused ones, so the genuine ones have a list of their
own, and nothing is held of what the sender of a refused one wrote.
"""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from starlette.types import Scope

from deployd.delivery import Delivery, NotKept, Proposal, Push, Pushes
from deployd.errors import DeliveryRejected
from deployd.forges.forge import Said
from deployd.logs.log import printable

_MOST = 100
_LONGEST_NAME, _LONGEST_REASON = 200, 1000


class NotKeptList:
    """The last 100 refused and the last 100 ignored deliveries of all forges."""

    def __init__(self, peer: Callable[[Scope], str] | None = None) -> None:
        """`peer`: gives the address of a request's sender, which behind a proxy is not that of the connection."""
        self._peer = peer or _connected
        self._refused: deque[NotKept] = deque(maxlen=_MOST)
        self._ignored: deque[NotKept] = deque(maxlen=_MOST)

    def refused(self, forge: str, scope: Scope, exc: DeliveryRejected) -> None:
        """Note a request that was refused."""
        reason = printable(f"{exc.message}: {exc.hint}" if exc.hint else exc.message, _LONGEST_REASON)
        peer = printable(self._peer(scope), _LONGEST_NAME)
        self._refused.append(NotKept(datetime.now(UTC), forge, exc.status, reason, peer=peer))

    def ignored(self, delivery: Delivery, found: Said, reason: str) -> None:
        """Note a genuine delivery that deploys nothing."""
        push = found.pushes[0] if isinstance(found, Pushes) and found.pushes else found
        repository, ref = (push.repository, push.ref) if isinstance(push, Push | Proposal) else ("", "")
        event, guid, repository, ref = (
            printable(one, _LONGEST_NAME) for one in (delivery.event, delivery.guid, repository, ref)
        )
        reason = printable(reason, _LONGEST_REASON)
        self._ignored.append(
            NotKept(
                at=datetime.now(UTC),
                forge=delivery.forge,
                status=200,
                reason=reason,
                event=event,
                guid=guid,
                repository=repository,
                ref=ref,
            )
        )

    def latest(self, most: int = _MOST) -> Sequence[NotKept]:
        """The last `most` of both kinds, the newest first."""
        refused, ignored = [*reversed(self._refused)][:most], [*reversed(self._ignored)][:most]
        return sorted([*refused, *ignored], key=lambda one: one.at, reverse=True)

    def find(self, guid: str) -> NotKept | None:
        """The newest ignored delivery of that GUID."""
        return next((one for one in reversed(self._ignored) if one.guid == guid), None)


def _connected(scope: Scope) -> str:
    return str((scope.get("client") or ("unknown",))[0])

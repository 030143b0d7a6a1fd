"""The sign that a container or pod of the release ends: one such end is enough."""

from collections.abc import Awaitable, Callable

from deployd.domain import GateResult
from deployd.ports.watching import Life, Lives


class Restarts:
    """Compares what runs now with the last measurement, so that each end is reported once."""

    name = "restarts"

    def __init__(self, ask: Callable[[], Awaitable[Lives]]) -> None:
        self.every = 1.0
        self._ask = ask
        self._before: Lives = {}
        self._ends: list[str] = []
        self._measured = False

    async def measure(self) -> str:
        """See Sign."""
        now = await self._ask()
        ends, self._before = ended_since(self._before, now), now
        self._ends += ends
        self._measured = True
        return "; ".join(ends)

    def result(self) -> GateResult:
        """See Sign."""
        figures = {"ends": len(self._ends), "running": sum(not life.ended for life in self._before.values())}
        if self._ends:
            return GateResult(self.name, "failed", "; ".join(self._ends[:3]), figures, moment="after")
        if not self._measured:
            return GateResult(self.name, "not_judged", "nothing could be seen", figures, moment="after")
        return GateResult(self.name, "passed", "nothing of it has ended", figures, moment="after")


def ended_since(before: Lives, now: Lives) -> list[str]:
    """The containers or pods that ended between two measurements, and how. Removed ones are left out: the target reports those
    that should be there."""
    return [how for key, life in now.items() if (how := _ended(before.get(key), life))]


def _ended(was: Life | None, now: Life) -> str:
    if now.ended:
        return "" if was is not None and was.ended and was.starts == now.starts else f"{now.name} {now.ended}"
    if was is None or was.ended or was.starts == now.starts:
        return ""
    return f"{now.name} {now.before or 'ended'} and was started again"

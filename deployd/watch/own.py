"""The sign that an app's own gate gives: it is asked once after the switch, and its verdict stands."""

from collections.abc import Awaitable, Callable

from msgspec import structs

from deployd.domain import GateResult
from deployd.errors import ConfigError

_EVERY_SECONDS = 1.0


class OwnVerdict:
    """The verdict of one own gate on the watched release."""

    def __init__(self, name: str, ask: Callable[[], Awaitable[GateResult | None]]) -> None:
        """`ask` asks the gate; None while nothing of the release runs."""
        self.name = name
        self.every = _EVERY_SECONDS
        self._ask = ask
        self._found: GateResult | None = None
        self._why = "the watch was over before its verdict"

    async def measure(self) -> str:
        """See Sign."""
        if self._found is None:
            try:
                self._found = await self._ask()
            except ConfigError as exc:
                self._why = exc.message
                raise
        if self._found is None or self._found.verdict != "failed":
            return ""
        return f"the {self.name} gate refused it: {self._found.detail}"

    def result(self) -> GateResult:
        """See Sign."""
        if self._found is None:
            return GateResult(self.name, "not_judged", self._why, moment="after")
        return structs.replace(self._found, moment="after")

"""The reason why the gateway does not use the settings in [gateway], if there is one. Logged once, and reported by each ping."""

import logging

from deployd.errors import DeploydError, Unavailable

logger = logging.getLogger(__name__)


class Refusal:
    """The present refusal; false when there is none."""

    def __init__(self) -> None:
        self._words = ""

    def __bool__(self) -> bool:
        return bool(self._words)

    def of(self, exc: DeploydError, *, first: bool = False) -> Unavailable:
        """The error for settings that cannot be used, which becomes the present refusal; `first`: there are no old ones."""
        what = "the gateway cannot be made" if first else "the gateway keeps its old settings"
        before, self._words = self._words, f"{what}: {exc.message}"
        if self._words != before:
            logger.error("%s (%s)", self._words, "; ".join(exc.hint.splitlines()))
        return Unavailable(self._words, hint=exc.hint)

    def over(self) -> None:
        """Forget the refusal: the settings are used."""
        self._words = ""

    def check(self) -> None:
        """Unavailable while there is a refusal."""
        if self._words:
            raise Unavailable(self._words, hint="correct what it names, or change [gateway] and restart deployd")

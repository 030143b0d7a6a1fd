"""Notices from the cluster for the log of the deploy that caused them: warnings, and fields taken over from others.

A warning of PodSecurity or of a deprecation says today what fails tomorrow. Each is told once in a deploy; outside of one, as in
a repair, the daemon's log gets it.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

logger = logging.getLogger(__name__)


def _to_the_daemon(text: str) -> None:
    logger.warning("%s", text)


_told: ContextVar[Callable[[str], None]] = ContextVar("told", default=_to_the_daemon)


@contextmanager
def told_to(write: Callable[[str], None]) -> Iterator[None]:
    """Inside the block, and in the tasks that it starts, `write` gets each notice once."""
    seen = set[str]()

    def once(text: str) -> None:
        if text not in seen:
            seen.add(text)
            write(f"warning: {text}\n")

    before = _told.set(once)
    try:
        yield
    finally:
        _told.reset(before)


def tell(text: str) -> None:
    """Give a notice about the last write."""
    _told.get()(text)

"""The events that a cluster keeps about its objects. Pure.

A repeated event has a counter: `count` with `lastTimestamp` in the older API, `series` in events.k8s.io.
"""

from typing import Any

Json = dict[str, Any]


def when(event: Json) -> str:
    """The time of the event's last occurrence."""
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(last or event.get("metadata", {}).get("creationTimestamp") or "")


def times(event: Json) -> int:
    """The number of occurrences."""
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)

"""The events that a cluster keeps about its objects. Pure.

One that comes again counts up: in `count` with `lastTimestamp` by the older API, in its `series` by events.k8s.io.
"""

from typing import Any

Json = dict[str, Any]


def when(event: Json) -> str:
    """When it came last."""
    series = event.get("series") or {}
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(last or event.get("metadata", {}).get("creationTimestamp") or "")


def times(event: Json) -> int:
    """How many times it came."""
    return int((event.get("series") or {}).get("count") or event.get("count") or 1)

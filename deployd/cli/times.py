"""Ages and durations, in words that fit a column."""

from datetime import UTC, datetime


def age(moment: datetime | None) -> str:
    """How long ago that was, as kubectl says it: `9s`, `3m20s`, `5h`, `12d`."""
    if moment is None:
        return "-"
    seconds = max(int((datetime.now(UTC) - moment).total_seconds()), 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{seconds % 60}s" if seconds % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    return f"{hours}h" if hours < 48 else f"{days}d"


def took(seconds: float) -> str:
    """`0.31s`, `42s`, `5m`, `3h`, `12d`."""
    if seconds < 10:
        return f"{max(seconds, 0):.2f}s"
    for unit, length in (("d", 172800), ("h", 7200), ("m", 120)):
        if seconds >= length:
            return f"{seconds / {'d': 86400, 'h': 3600, 'm': 60}[unit]:.0f}{unit}"
    return f"{seconds:.0f}s"

"""The state badge of an app: an SVG of two boxes. Pure."""

from html import escape

from deployd.domain import AppState, Deploy, Health
from deployd.status import Status

_CHARACTER_PX, _PADDING_PX = 7, 10
_GREEN, _BLUE, _RED, _GREY = "#2e7d32", "#1565c0", "#c62828", "#616161"


def badge(app: str, state: AppState, newest: Deploy | None, health: Health | None = None) -> str:
    """The badge's SVG. It shows the commit that serves, that none does, or that a newer deploy is in flight or failed."""
    words, colour = _words(state, newest, health)
    left, right = (len(text) * _CHARACTER_PX + _PADDING_PX for text in (app, words))
    label, text = escape(app), escape(words)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{label}: {text}">'
        f"<title>{label}: {text}</title>"
        f'<rect width="{left + right}" height="20" rx="3" fill="#424242"/>'
        f'<rect x="{left}" width="{right}" height="20" rx="3" fill="{colour}"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2}" y="14">{label}</text><text x="{left + right / 2}" y="14">{text}</text></g></svg>'
    )


def _words(state: AppState, newest: Deploy | None, health: Health | None) -> tuple[str, str]:
    if health is not None and health.state in {"down", "unknown"}:
        return health.state, _RED
    if state.paused:
        return "paused", _GREY
    if state.in_flight is not None and not state.in_flight.prove:
        return state.in_flight.status.value.replace("_", " "), _BLUE
    if newest is not None and newest.status in {Status.FAILED, Status.REVERTED}:
        return f"{newest.status} {newest.commit[:7]}", _RED
    if state.live is not None:
        return f"live {state.live.commit[:7]}", _GREEN
    return "nothing live", _GREY

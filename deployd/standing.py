"""What serves and what is under way, in one line, as `systemctl status` shows it."""

from collections.abc import Sequence

from deployd.domain import AppState

_NAMED = 5


def standing(states: Sequence[AppState]) -> str:
    """`iris/42 live, rose/7 building; 1 of 2 apps serves`, short however many apps there are."""
    if not states:
        return "no apps are configured"
    serving = [state.live.name for state in states if state.live is not None]
    moving = [
        f"{state.in_flight.name} {state.in_flight.status.replace('_', ' ')}"
        for state in states
        if state.in_flight is not None
    ]
    waiting = sum(state.queued for state in states)
    held = [state.app for state in states if state.held_reason]
    parts = [f"{len(serving)} of {len(states)} app{'' if len(states) == 1 else 's'} served: {_some(serving)}"]
    parts += [f"under way: {_some(moving)}"] if moving else []
    parts += [f"waiting: {waiting}"] if waiting else []
    parts += [f"held: {_some(held)}"] if held else []
    return "; ".join(parts)


def _some(names: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    if not names:
        return "none"
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")

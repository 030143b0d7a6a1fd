"""The state of all apps in one line, as `systemctl status` shows it."""

from collections.abc import Mapping, Sequence

from deployd.domain import AppState, Health

_NAMED = 5


def standing(states: Sequence[AppState], unhealthy: Mapping[str, Health]) -> str:
    """`1 of 2 apps served: iris/42; under way: rose/7 building`, short however many apps there are.

    `unhealthy`: the apps whose live release does not serve as it should.
    """
    if not states:
        return "no apps are configured"
    serving = [state.live.name for state in states if state.live is not None and state.app not in unhealthy]
    moving = [
        f"{state.in_flight.name} {state.in_flight.status.replace('_', ' ')}"
        for state in states
        if state.in_flight is not None
    ]
    waiting = sum(state.queued for state in states)
    held = [state.app for state in states if state.held_commit]
    parts = [f"{len(serving)} of {len(states)} app{'' if len(states) == 1 else 's'} served: {_some(serving)}"]
    parts += (
        [f"unhealthy: {_some([f'{app} {health.state}' for app, health in unhealthy.items()])}"] if unhealthy else []
    )
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

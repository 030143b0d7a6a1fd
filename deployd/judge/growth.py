"""The traffic between two readings of an app's gateway, by address. Pure.

Unlike a `Window`, which judges a release and so rather counts too little, this counts all requests once: a slot that got another
address between the readings counts for that one.
"""

from deployd.judge.traffic import Counters, Place, Reading, Traffic, Window

NOWHERE = ""
"""The address of the backend itself; in the result of `grown`, that of requests that reached no release."""


def grown(before: Reading, now: Reading) -> dict[str, Traffic]:
    """The traffic of each address from `before` to `now`; addresses without any are left out."""
    window = Window({place: _base(before, place) for place in now if _is_known(before, place)})
    window.add(now)
    found = {address: window.of(address) for address in {place.address for place in now} - {NOWHERE}}
    came = window.of(NOWHERE).requests
    unserved = max(0, came - sum(traffic.requests for traffic in found.values()))
    found[NOWHERE] = Traffic(unserved, unserved)
    return {address: traffic for address, traffic in found.items() if traffic.requests}


def _is_known(before: Reading, place: Place) -> bool:
    """Whether the worker of a place was there before; one that is new has counted from zero."""
    return any(known.worker == place.worker for known in before)


def _base(before: Reading, place: Place) -> Counters:
    """The figures of a slot at the reading before, whatever its address was then."""
    here = (counters for known, counters in before.items() if (known.worker, known.slot) == (place.worker, place.slot))
    return next(here, Counters())

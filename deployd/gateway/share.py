"""A share of an app's requests goes to a second release: the rules for it, and the commands that change it. Pure.

HAProxy looks up the app in a map: which slot gets the share, how large it is, and until when. The map has effect before HAProxy
chooses a server, so the slot needs no traffic of its own: it is in the state `drain`, and the first ready slot gets all the rest.
The share is a loan of a few seconds, which is extended while someone watches the second release. So when deployd dies, and when
HAProxy is started again or reloads, all requests go to the release that served before.

Each request draws a lot. With `sticky`, a client keeps its lot in a cookie, so a larger share keeps those who are in.
"""

from collections.abc import Iterable

from deployd.gateway.paths import CONFIG
from deployd.gateway.slots import SLOTS, Route

LOAN_SECONDS = 5
WHOLE = 1000
"""A share is given in thousandths."""

_FILE = f"{CONFIG}/canary.map"


def map_file(routes: Iterable[Route]) -> str:
    """The map that HAProxy starts with: no app shares its requests."""
    return "".join(f"{route.app} 0\n" for route in sorted(routes, key=lambda route: route.app) if route.canary)


def share(route: Route, slot: int, thousandths: int, now: float) -> str:
    """The command that sends so many thousandths of the requests to a slot (by its index), for one loan from `now` on."""
    until = int(now) + LOAN_SECONDS
    return f"set map {_FILE} {route.app} {until * 100_000 + (slot + 1) * 10_000 + thousandths}"


def no_share(route: Route) -> list[str]:
    """The command that sends all requests to the first ready slot; none where there can be no share."""
    return [f"set map {_FILE} {route.app} 0"] if route.canary else []


def share_rules(route: Route) -> list[str]:
    """The rules of the app's backend."""
    if not route.canary:
        return []
    return [
        f"  http-request set-var(txn.loan) str({route.app}),map_str_int({_FILE},0)",
        "  acl lent var(txn.loan) -m int gt 0",
        "  acl in_time date(),sub(txn.until) -m int lt 0",
        "  acl drawn var(txn.lot),sub(txn.share) -m int lt 0",
        "  http-request set-var(txn.until) var(txn.loan),div(100000) if lent",
        "  http-request set-var(txn.share) var(txn.loan),mod(10000) if lent",
        *(_sticky_lot(route) if route.sticky else [f"  http-request set-var(txn.lot) rand({WHOLE}) if lent"]),
        "  http-request set-var(txn.slot) var(txn.loan),div(10000),mod(10) if lent in_time drawn",
        *(f"  use-server s{number} if {{ var(txn.slot) -m int {number} }}" for number in range(1, SLOTS + 1)),
    ]


def _sticky_lot(route: Route) -> list[str]:
    name, path = f"deployd-{route.app}", route.path_prefix.rstrip("/") or "/"
    cookie = f"{name}=%[var(txn.lot)]; Path={path}; HttpOnly; SameSite=Lax"
    return [
        f"  acl has_lot req.cook({name}) -m found",
        f"  http-request set-var(txn.lot) req.cook_val({name}) if lent has_lot",
        f"  http-request set-var(txn.lot) rand({WHOLE}) if lent !has_lot",
        "  http-request set-var(txn.first_lot) int(1) if lent !has_lot",
        f'  http-response add-header Set-Cookie "{cookie}" if {{ var(txn.first_lot) -m found }}',
    ]

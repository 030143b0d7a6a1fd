"""Samples of the requests to apps that agree to it, as HAProxy's log: the rules for them. Pure.

HAProxy waits for the body of a sampled request, keeps a copy until it is answered, and then sends one datagram to a socket of
deployd, for which it never waits. Only what fits whole is sampled: JSON of up to 11,000 bytes, with its length, without a query.
"""

from collections.abc import Iterable

from deployd.gateway.paths import CONFIG
from deployd.gateway.slots import Route

SOCKET = "requests.sock"
"""The name of deployd's socket in the directory of haproxy.cfg."""
MARK = "deployd-request"
"""The first word of a datagram with a request; the others are what HAProxy says of itself."""
LARGEST = 11_000
"""The bytes of a body that fit, in base64, into HAProxy's buffer of 16 KiB."""
WHOLE = 100_000
"""How many parts of all requests there are, some of which an app lets HAProxy record."""

_WAIT_SECONDS = 30
_SAMPLED = "{ var(txn.app) -m found }"


def frontend_rules(routes: Iterable[Route]) -> list[str]:
    """The rules of a frontend that serves these apps. Requests that are not sampled are not logged."""
    if not any(route.sampled for route in routes):
        return []
    line = f"{MARK} %[var(txn.app)] %ST %HM %[capture.req.hdr(0)] %[var(txn.path)]"
    return [
        f"  declare capture request len {LARGEST * 4 // 3 + 4}",
        f"  log {CONFIG}/{SOCKET} len 65535 format raw local0 info",
        f'  log-format "{line}"',
        "  http-request set-log-level silent",
    ]


def backend_rules(route: Route) -> list[str]:
    """The rules of the backend of an app."""
    if not route.sampled:
        return []
    whole = f"{{ req.hdr_val(content-length) gt 0 }} {{ req.hdr_val(content-length) le {LARGEST} }}"
    plain = "!{ query -m found } !{ req.hdr(content-encoding) -m found }"
    drawn = f"{{ rand({WHOLE}) lt {route.sampled} }} {{ req.hdr(content-type) -m sub -i json }} {whole} {plain}"
    return [
        f"  http-request set-var(txn.app) str({route.app}) if {drawn}",
        f"  http-request wait-for-body time {_WAIT_SECONDS}s if {_SAMPLED}",
        f"  http-request capture req.body,base64 id 0 if {_SAMPLED}",
        f"  http-request set-var(txn.path) path if {_SAMPLED}",
        f"  http-request set-log-level info if {_SAMPLED}",
    ]

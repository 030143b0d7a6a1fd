"""The text of an app's backend in haproxy.cfg: its rules and its servers. Pure."""

from deployd.gateway.counters import LATENCY_RULES
from deployd.gateway.sampling import backend_rules
from deployd.gateway.share import share_rules
from deployd.gateway.slots import Route, Slot, Use

_ONCE = "  http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }"


def backend(route: Route) -> str:
    """The backend of one app."""
    servers = (_server(number, slot) for number, slot in enumerate(route.slots, start=1))
    rules = [_ONCE, *LATENCY_RULES, *_stripping(route), *backend_rules(route), *share_rules(route)]
    return "\n".join([f"backend {route.backend}", *rules, *servers, ""])


def _stripping(route: Route) -> list[str]:
    """The rules that take the path prefix away, and tell the app. Slashes that follow it go too: `//host` would be a URL."""
    prefix = route.path_prefix.rstrip("/")
    if not route.strip_prefix or not prefix:
        return []
    found = f"{{ path {prefix} }} or {{ path_beg {prefix}/ }}"
    return [
        f"  http-request set-header X-Forwarded-Prefix {prefix} if {found}",
        f"  http-request replace-path ^{_escaped(prefix)}(/+(.*))?$ /\\2 if {found}",
    ]


def _escaped(text: str) -> str:
    """`text` in a regular expression that HAProxy reads from its config, where it takes a backslash away itself."""
    return "".join(f"[{sign}]" if sign in ".*+?()|$" else sign for sign in text)


def _server(number: int, slot: Slot) -> str:
    backup = "" if number == 1 else " backup"
    disabled = "" if slot.use is Use.READY else " disabled"
    return f"  server s{number} {slot.endpoint or '127.0.0.1:1'}{backup}{disabled}"

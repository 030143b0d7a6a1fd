"""The text of haproxy.cfg as a pure function of the doors and the routes, and back: its first line holds both.

The file is always the present state, so that HAProxy comes back right when it is started again without deployd. A draining
slot is written as disabled: whatever reads the file has no sessions that could still drain. HAProxy tells the shape of the
text that it has read, by which one that has to read it anew is known.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from deployd.config.daemon import GatewaySection
from deployd.gateway.slots import SLOTS, Route, Slot, Use

CONFIG = "/etc/deployd"
"""Where the directory of haproxy.cfg is mounted in the gateway's container."""
SOCKETS = "/run/deployd"
CERTIFICATES = "/etc/deployd-certificates"
CONTROL_PORT = 9764
"""HAProxy's master CLI by TCP, inside the container, where the gateway is not on the host network."""

_HEADER = "# deployd "
_RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Doors:
    """The part of the settings that shapes the text. `bridge`: HAProxy has a network of its own and ports are published."""

    bind: str
    http_port: int | None
    https_port: int | None
    stats_port: int | None
    bridge: bool

    @classmethod
    def of(cls, section: GatewaySection, *, bridge: bool) -> "Doors":
        """The doors that `[gateway]` asks for."""
        bind = "0.0.0.0" if bridge else section.bind  # noqa: S104 - inside a container; what is published is bound to section.bind
        return cls(bind, section.http_port, section.https_port, section.stats_port, bridge)


def render(doors: Doors, routes: Iterable[Route]) -> str:
    """The whole of haproxy.cfg, with the routes in the order of their names."""
    ordered = sorted(routes, key=lambda route: route.app)
    first = {"doors": asdict(doors), "routes": [route.to_json() for route in ordered]}
    description = f"global\n  description {shape(doors, ordered)}\n"
    return "\n".join([_HEADER + json.dumps(first, separators=(",", ":")), description, _body(doors, ordered)])


def shape(doors: Doors, routes: Iterable[Route]) -> str:
    """What of the text takes a reload: all but the state of the slots, which is changed at run time."""
    bare = (replace(route, slots=(Slot(),) * SLOTS) for route in sorted(routes, key=lambda route: route.app))
    return hashlib.sha256(_body(doors, list(bare)).encode()).hexdigest()[:16]


def _body(doors: Doors, ordered: Sequence[Route]) -> str:
    parts = [
        _FIXED,
        *_stats(doors),
        *_shared(doors, [route for route in ordered if route.hosts]),
        *(_listener(doors, route, route.listen) for route in ordered if route.listen is not None),
        *(_backend(route) for route in ordered),
    ]
    return "\n".join(parts)


def read(text: str) -> list[Route]:
    """The routes in a file that `render` wrote; none when its first line is damaged."""
    first = _first(text)
    try:
        return [Route.from_json(data) for data in (first["routes"] if isinstance(first, dict) else first)]
    except (ValueError, TypeError, KeyError):
        return []


def read_doors(text: str) -> Doors | None:
    """The doors in a file that `render` wrote; None when its first line is damaged, or of a deployd that did not say."""
    first = _first(text)
    try:
        return Doors(**first["doors"]) if isinstance(first, dict) else None
    except (TypeError, KeyError):
        return None


def _first(text: str) -> Any:
    try:
        return json.loads(text.partition("\n")[0].removeprefix(_HEADER))
    except ValueError:
        return None


def _problem(status: int, title: str) -> str:
    body = json.dumps({"type": "about:blank", "title": title, "status": status}).replace('"', '\\"')
    return f'status {status} content-type application/problem+json string "{body}"'


# idle-close-on-response: a worker that leaves says so with its last answer instead of closing under a client's next request.
# Only what has surely not been handled is sent again: a failed connect always, an empty answer for idempotent methods alone.
_FIXED = f"""global
  log stdout format raw daemon notice
  stats socket {SOCKETS}/admin.sock mode 600 level admin expose-fd listeners
  user haproxy
  group haproxy
  fd-hard-limit 100000
  hard-stop-after 1h

defaults
  mode http
  log global
  option dontlognull
  option forwardfor
  option redispatch
  option idle-close-on-response
  http-reuse safe
  retries 3
  retry-on conn-failure empty-response
  timeout connect 2s
  timeout http-request 30s
  timeout http-keep-alive 75s
  timeout client 10m
  timeout server 10m
  timeout tunnel 1h
  timeout queue 30s
  default-server pool-purge-delay 2s
  http-error {_problem(503, "no release of this app is serving")} hdr Retry-After {_RETRY_AFTER_SECONDS}
"""

_ONCE = "  http-request disable-l7-retry unless { method GET HEAD OPTIONS PUT DELETE TRACE }"


def _stats(doors: Doors) -> list[str]:
    if doors.stats_port is None:
        return []
    bind = doors.bind if doors.bridge else "127.0.0.1"
    return [
        f"""frontend stats
  bind {bind}:{doors.stats_port}
.if feature(PROMEX)
  http-request use-service prometheus-exporter if {{ path /metrics }}
.endif
  stats enable
  stats uri /
"""
    ]


def _shared(doors: Doors, routes: Sequence[Route]) -> list[str]:
    """The frontend that tells apps apart by host name and path prefix; the longest prefix wins."""
    binds = [f"  bind {doors.bind}:{doors.http_port}"] if doors.http_port is not None else []
    if doors.https_port is not None:
        binds.append(f"  bind {doors.bind}:{doors.https_port} ssl crt {CERTIFICATES}/ alpn h2,http/1.1")
    if not binds:
        return []
    rules = [_rule(route) for route in sorted(routes, key=lambda route: -len(route.path_prefix))]
    forwarded = "  http-request set-header X-Forwarded-Proto https if { ssl_fc }"
    refusal = f"backend nowhere\n  http-request return {_problem(404, 'no app answers to this host name and path')}\n"
    return ["\n".join(["frontend shared", *binds, forwarded, *rules, "  default_backend nowhere", ""]), refusal]


def _rule(route: Route) -> str:
    hosts = " ".join(host.lower() for host in route.hosts)
    prefix = route.path_prefix.rstrip("/")
    path = (
        f" {{ path {prefix} }} or {{ req.hdr(host),field(1,:),lower -m str {hosts} }} {{ path_beg {prefix}/ }}"
        if prefix
        else ""
    )
    return f"  use_backend {route.backend} if {{ req.hdr(host),field(1,:),lower -m str {hosts} }}{path}"


def _listener(doors: Doors, route: Route, port: int) -> str:
    return f"frontend port-{port}\n  bind {doors.bind}:{port}\n  default_backend {route.backend}\n"


def _backend(route: Route) -> str:
    servers = (_server(number, slot) for number, slot in enumerate(route.slots, start=1))
    return "\n".join([f"backend {route.backend}", _ONCE, *servers, ""])


def _server(number: int, slot: Slot) -> str:
    backup = "" if number == 1 else " backup"
    disabled = "" if slot.use is Use.READY else " disabled"
    return f"  server s{number} {slot.endpoint or '127.0.0.1:1'}{backup}{disabled}"

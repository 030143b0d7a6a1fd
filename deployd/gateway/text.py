"""The text of haproxy.cfg, rendered from listeners and routes. Its first line holds both as JSON, to be read back. Pure.

The file always has the present state, so that HAProxy is right when it is started again without deployd. A draining slot is
written as disabled: an HAProxy that starts has no sessions to drain. The text holds a hash of its structure, which HAProxy
reports; when that differs from the hash of the present routes, HAProxy must reload.
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
"""The TCP port of HAProxy's master CLI inside the container, on a bridge network."""

_HEADER = "# deployd "
_RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Listeners:
    """The addresses in `[gateway]` that HAProxy listens on. `bridge`: it is in a bridge network and its ports are published."""

    bind: str
    http_port: int | None
    https_port: int | None
    stats_port: int | None
    bridge: bool

    @classmethod
    def of(cls, section: GatewaySection, *, bridge: bool) -> "Listeners":
        """The listeners that `[gateway]` configures."""
        bind = "0.0.0.0" if bridge else section.bind  # noqa: S104 - inside a container; the published ports are bound to section.bind
        return cls(bind, section.http_port, section.https_port, section.stats_port, bridge)


def render(listeners: Listeners, routes: Iterable[Route]) -> str:
    """The text of haproxy.cfg, with the routes sorted by app name."""
    ordered = sorted(routes, key=lambda route: route.app)
    first = {"doors": asdict(listeners), "routes": [route.to_json() for route in ordered]}
    description = f"global\n  description {structure_hash(listeners, ordered)}\n"
    return "\n".join([_HEADER + json.dumps(first, separators=(",", ":")), description, _body(listeners, ordered)])


def structure_hash(listeners: Listeners, routes: Iterable[Route]) -> str:
    """A hash of the part of the text that only a reload can change: all but the slots, which change at run time."""
    bare = (replace(route, slots=(Slot(),) * SLOTS) for route in sorted(routes, key=lambda route: route.app))
    return hashlib.sha256(_body(listeners, list(bare)).encode()).hexdigest()[:16]


def _body(listeners: Listeners, ordered: Sequence[Route]) -> str:
    parts = [
        _FIXED,
        *_stats(listeners),
        *_shared(listeners, [route for route in ordered if route.hosts]),
        *(_listener(listeners, route, route.listen) for route in ordered if route.listen is not None),
        *(_backend(route) for route in ordered),
    ]
    return "\n".join(parts)


def read(text: str) -> list[Route]:
    """The routes in a text from `render`; empty when its first line is damaged."""
    first = _first(text)
    try:
        return [Route.from_json(data) for data in (first["routes"] if isinstance(first, dict) else first)]
    except (ValueError, TypeError, KeyError):
        return []


def read_listeners(text: str) -> Listeners | None:
    """The listeners in a text from `render`; None when its first line is damaged, or an older deployd wrote it without them."""
    first = _first(text)
    try:
        return Listeners(**first["doors"]) if isinstance(first, dict) else None
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


# idle-close-on-response: an old worker announces the end of a connection with its last answer; without it, the worker could
# close the connection while the client sends its next request.
# A request is retried only when that is safe: after a failed connect always, after an empty answer for idempotent methods only.
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


def _stats(listeners: Listeners) -> list[str]:
    if listeners.stats_port is None:
        return []
    bind = listeners.bind if listeners.bridge else "127.0.0.1"
    return [
        f"""frontend stats
  bind {bind}:{listeners.stats_port}
.if feature(PROMEX)
  http-request use-service prometheus-exporter if {{ path /metrics }}
.endif
  stats enable
  stats uri /
"""
    ]


def _shared(listeners: Listeners, routes: Sequence[Route]) -> list[str]:
    """The frontend that selects the app by host name and path prefix; the longest prefix wins."""
    binds = [f"  bind {listeners.bind}:{listeners.http_port}"] if listeners.http_port is not None else []
    if listeners.https_port is not None:
        binds.append(f"  bind {listeners.bind}:{listeners.https_port} ssl crt {CERTIFICATES}/ alpn h2,http/1.1")
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


def _listener(listeners: Listeners, route: Route, port: int) -> str:
    return f"frontend port-{port}\n  bind {listeners.bind}:{port}\n  default_backend {route.backend}\n"


def _backend(route: Route) -> str:
    servers = (_server(number, slot) for number, slot in enumerate(route.slots, start=1))
    return "\n".join([f"backend {route.backend}", _ONCE, *servers, ""])


def _server(number: int, slot: Slot) -> str:
    backup = "" if number == 1 else " backup"
    disabled = "" if slot.use is Use.READY else " disabled"
    return f"  server s{number} {slot.endpoint or '127.0.0.1:1'}{backup}{disabled}"

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
from deployd.gateway.backend import backend
from deployd.gateway.paths import CERTIFICATES, SOCKETS
from deployd.gateway.sampling import frontend_rules
from deployd.gateway.slots import SLOTS, Route, Slot

_HEADER = "# deployd "
_RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Listeners:
    """How HAProxy listens, from `[gateway]`. `bridge`: it is in a bridge network and its ports are published; `certificates`: the
    directory of the present certificates, below CERTIFICATES; `buffer`: the bytes that the headers of a request may have."""

    bind: str
    http_port: int | None
    https_port: int | None
    stats_port: int | None
    bridge: bool
    certificates: str = ""
    buffer: int | None = None
    trusted_proxies: tuple[str, ...] = ()

    @classmethod
    def of(cls, section: GatewaySection, *, bridge: bool, certificates: str = "") -> "Listeners":
        """The listeners that `[gateway]` configures; `certificates` is the directory of the present certificates. Without any,
        `https_port` stays closed, and the rest is served."""
        bind = "0.0.0.0" if bridge else section.bind  # noqa: S104 - inside a container; the published ports are bound to section.bind
        ports = section.http_port, section.https_port if certificates else None, section.stats_port
        return cls(bind, *ports, bridge, certificates, section.buffer, section.trusted_proxies)


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
        _global(listeners),
        _DEFAULTS,
        *_stats(listeners),
        *_shared(listeners, [route for route in ordered if route.hosts]),
        *(_listener(listeners, route, route.listen) for route in ordered if route.listen is not None),
        *(backend(route) for route in ordered),
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
        doors = first["doors"] if isinstance(first, dict) else None
        return Listeners(**doors | {"trusted_proxies": tuple(doors.get("trusted_proxies", ()))}) if doors else None
    except (TypeError, KeyError, AttributeError):
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
_DEFAULTS = f"""defaults
  mode http
  log global
  option dontlognull
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

# Headers about the client: they count only from a trusted proxy. Some frameworks also read them with underscores.
_SAID_BY_PROXIES = "^(forwarded|x[-_]real[-_]ip|x[-_]forwarded[-_].*)$"


def _global(listeners: Listeners) -> str:
    buffer = f"  tune.bufsize {listeners.buffer}\n" if listeners.buffer is not None else ""
    return f"""global
  log stdout format raw daemon notice
  stats socket {SOCKETS}/admin.sock mode 600 level admin expose-fd listeners
  user haproxy
  group haproxy
  fd-hard-limit 100000
  hard-stop-after 1h
{buffer}"""


def _forwarding(listeners: Listeners) -> list[str]:
    """The rules of a frontend that tell the app who the client is, by which scheme and host it came."""
    trusted = " ".join(listeners.trusted_proxies)
    no_host_yet = "{ req.fhdr(host) -m found } !{ req.fhdr(x-forwarded-host) -m found }"
    return [
        f"  acl from_proxy src {trusted}" if trusted else "  acl from_proxy always_false",
        "  acl listed req.fhdr_cnt(x-forwarded-for) eq 1",
        f"  http-request del-header {_SAID_BY_PROXIES} -m reg unless from_proxy",
        '  http-request set-header X-Forwarded-For "%[req.fhdr(x-forwarded-for)], %[src]" if from_proxy listed',
        "  http-request add-header X-Forwarded-For %[src] unless from_proxy listed",
        "  http-request set-header X-Forwarded-Proto https if { ssl_fc } !{ req.fhdr(x-forwarded-proto) -m found }",
        "  http-request set-header X-Forwarded-Proto http unless { req.fhdr(x-forwarded-proto) -m found }",
        f"  http-request set-header X-Forwarded-Host %[req.fhdr(host)] if {no_host_yet}",
    ]


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
        below = f"{listeners.certificates}/" if listeners.certificates else ""
        binds.append(f"  bind {listeners.bind}:{listeners.https_port} ssl crt {CERTIFICATES}/{below} alpn h2,http/1.1")
    if not binds:
        return []
    rules = _rules(routes)
    refusal = f"backend nowhere\n  http-request return {_problem(404, 'no app answers to this host name and path')}\n"
    lines = [
        "frontend shared",
        *binds,
        *frontend_rules(routes),
        *_forwarding(listeners),
        *rules,
        "  default_backend nowhere",
        "",
    ]
    return ["\n".join(lines), refusal]


def _rules(routes: Sequence[Route]) -> list[str]:
    """The first that matches counts: whole names before wildcards, then longer paths.

    A wildcard stands for one label, as in a certificate. So no two wildcards match the same name.
    """
    longest = sorted(routes, key=lambda route: -len(route.path_prefix))
    whole = ((route, [host for host in route.hosts if not host.startswith("*.")]) for route in longest)
    wild = [
        (route, host[1:].lower().replace(".", r"\."))
        for route in longest
        for host in route.hosts
        if host.startswith("*.")
    ]
    return [
        *(_rule(route, f"-m str {' '.join(hosts).lower()}") for route, hosts in whole if hosts),
        *(_rule(route, f"-m reg ^[^.]+{suffix}$") for route, suffix in wild),
    ]


def _rule(route: Route, match: str) -> str:
    host = f"{{ req.hdr(host),field(1,:),lower {match} }}"
    prefix = route.path_prefix.rstrip("/")
    path = f" {{ path {prefix} }} or {host} {{ path_beg {prefix}/ }}" if prefix else ""
    return f"  use_backend {route.backend} if {host}{path}"


def _listener(listeners: Listeners, route: Route, port: int) -> str:
    bind = f"  bind {listeners.bind}:{port}"
    lines = [
        f"frontend port-{port}",
        bind,
        *frontend_rules([route]),
        *_forwarding(listeners),
        f"  default_backend {route.backend}",
        "",
    ]
    return "\n".join(lines)

"""The daemon's address for clients, a Unix socket or a URL, and the reason when nothing answers there."""

import grp
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import httpx

from deployd.config.daemon import SOCKET, default_state_dir, runtime_dir
from deployd.host.unix import short

PUBLIC_URL = "http://127.0.0.1:8081"
SYSTEM_SOCKET = Path("/run/deployd") / SOCKET

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})
_SCHEME = "unix://"
KEEPS_S = 2.0
"""How long an idle connection is kept: less long than the daemon keeps it."""

# The messages of httpx in plain words.
_CLOSED = "it closed the connection"
_WORDS = {
    "All connection attempts failed": "nothing listens there",
    "Server disconnected without sending a response.": _CLOSED,
    "peer closed connection without sending complete message body (incomplete chunked read)": _CLOSED,
}


class _Local(httpx.AsyncHTTPTransport):
    """An HTTP transport over a Unix socket, whose path may have any length."""

    def __init__(self, path: Path, limits: httpx.Limits) -> None:
        self._names = ExitStack()
        try:
            name = self._names.enter_context(short(path))
        except OSError:
            name = str(path)  # nobody is there: the first request says so
        super().__init__(uds=name, limits=limits, verify=False)  # no TLS here: loading all CA certificates takes 20 ms

    async def aclose(self) -> None:
        """Close the connections."""
        await super().aclose()
        self._names.close()


def default_url() -> str:
    """The Unix socket of this machine's daemon: that of the service, or that of this user's own daemon."""
    places = [SYSTEM_SOCKET, default_state_dir() / SOCKET]
    if (runtime := runtime_dir()) is not None:
        places.insert(0, runtime / SOCKET)
    return f"{_SCHEME}{next((place for place in places if os.access(place, os.F_OK)), places[0])}"


def is_url(url: str) -> bool:
    """Whether a daemon can have this address."""
    return url.startswith((f"{_SCHEME}/", "http://", "https://"))


def http_client(url: str, headers: Mapping[bytes, bytes], timeout: float) -> httpx.AsyncClient:
    """A client for this address. It keeps a connection for less long than the daemon, which could close it under a request."""
    limits = httpx.Limits(keepalive_expiry=KEEPS_S)
    if (path := _socket_of(url)) is not None:
        return httpx.AsyncClient(
            base_url="http://localhost", headers=headers, timeout=timeout, transport=_Local(Path(path), limits)
        )
    proxied = httpx.URL(url).host not in _THIS_MACHINE  # proxies are for other machines
    return httpx.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=timeout,
        limits=limits,
        trust_env=proxied,
        verify=url.startswith("https:"),
    )


def why_unreachable(url: str, exc: httpx.RequestError) -> tuple[str, str]:
    """Why nobody answers, and what to do about it."""
    why, path = _WORDS.get(str(exc), str(exc)) or type(exc).__name__, _socket_of(url)
    if "WRONG_VERSION_NUMBER" in why:
        return f"the server at {url} does not use TLS", "set DEPLOYD_URL to an address that begins with http://"
    if path is None:
        return f"deployd at {url} does not answer: {why}", "start it, or set DEPLOYD_URL to its address"
    try:
        group = _name(Path(path).stat().st_gid)
    except PermissionError:
        return f"this account may not use {path}", "use sudo"
    except OSError:
        said = f"deployd does not run here: there is no {path}"
        return said, "systemctl start deployd.service starts it; DEPLOYD_URL names another daemon"
    if not os.access(path, os.W_OK):
        said = f"this account may not use {path}: it must be in the group {group}"
        return said, f"use sudo, or: usermod -aG {group} USER, and log in again"
    return f"deployd does not answer at {path}: {why}", "systemctl status deployd.service shows its state"


def _socket_of(url: str) -> str | None:
    return url.removeprefix(_SCHEME) if url.startswith(_SCHEME) else None


def _name(group: int) -> str:
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)

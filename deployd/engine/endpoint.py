"""Selects the Docker Engine by the docker client's own rule, so that deployd and the docker clients that it starts use the same
one.

DOCKER_HOST comes first, then DOCKER_CONTEXT, then the current context in the client's config (below DOCKER_CONFIG or
~/.docker), and without all of them the usual socket. Knows no engine's API.
"""

import hashlib
import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deployd.errors import ConfigError

USUAL = Path("/var/run/docker.sock")

_NO_CONTEXT = "default"
_SCHEMES = frozenset({"unix", "tcp", "http", "https"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An engine at `url`. `rule`: what named it, for a person; `tls`: what a TCP connection is encrypted with."""

    url: str
    rule: str
    tls: ssl.SSLContext | None = None


def endpoint() -> Endpoint:
    """The engine that is named, or the usual socket. ConfigError when there is none, or deployd cannot use it."""
    if (found := named()) is not None:
        return found
    if not is_socket(USUAL):
        raise ConfigError("no Docker Engine was found", hint=_elsewhere())
    return Endpoint(f"unix://{USUAL}", "the usual socket")


def named() -> Endpoint | None:
    """The engine that the environment or the docker client's config names; None when none is."""
    if url := os.environ.get("DOCKER_HOST"):
        secure = urlsplit(url).scheme == "https" or bool(os.environ.get("DOCKER_TLS_VERIFY"))
        keys = Path(os.environ.get("DOCKER_CERT_PATH") or config_directory())
        return _usable(url, "DOCKER_HOST", keys if secure else None, verify=True)
    name, rule = _context()
    return _of_context(name, f"the docker context {name}, {rule}") if name != _NO_CONTEXT else None


def given(url: str) -> Endpoint:
    """The engine at `url`, which the caller knows."""
    return _usable(url, "its address", None, verify=True)


def settle() -> None:
    """Let this process and its docker clients use the present context until they end: somebody may choose another meanwhile."""
    if not os.environ.get("DOCKER_HOST"):
        os.environ["DOCKER_CONTEXT"] = _context()[0]


def config_directory() -> Path:
    """The docker client's config directory."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def other_sockets() -> list[Path]:
    """Sockets at which engines often listen, and which nothing names: rootless Docker, Docker Desktop, colima, Podman."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    known = ("docker.sock", "podman/podman.sock")
    at_home = (".docker/run/docker.sock", ".docker/desktop/docker.sock", ".colima/default/docker.sock")
    places = [
        *(runtime / name for name in known),
        *(Path.home() / name for name in at_home),
        Path("/run/podman/podman.sock"),
    ]
    return [path for path in places if is_socket(path)]


def is_socket(path: Path) -> bool:
    """Whether it is a socket that this account can see."""
    try:
        return path.is_socket()
    except OSError:  # its directory belongs to others: /run/podman is root's
        return False


def _context() -> tuple[str, str]:
    """The name of the context, and what named it."""
    if name := os.environ.get("DOCKER_CONTEXT"):
        return name, "which DOCKER_CONTEXT names"
    path = config_directory() / "config.json"
    return str(_json(path).get("currentContext") or _NO_CONTEXT), f"which {path} names"


def _of_context(name: str, rule: str) -> Endpoint:
    contexts, key = config_directory() / "contexts", hashlib.sha256(name.encode()).hexdigest()
    known = _json(contexts / "meta" / key / "meta.json").get("Endpoints", {}).get("docker", {})
    if not known.get("Host"):
        raise ConfigError(
            f"{rule}, does not exist", hint="docker context ls names those that do; DOCKER_HOST overrides them"
        )
    keys = contexts / "tls" / key / "docker"
    return _usable(known["Host"], rule, keys if keys.is_dir() else None, verify=not known.get("SkipTLSVerify"))


def _usable(url: str, rule: str, keys: Path | None, *, verify: bool) -> Endpoint:
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES or not rest:
        hint = "use a socket of this machine: the gateway and its ports are where deployd runs"
        raise ConfigError(f"{rule} names the engine {url}, which deployd cannot speak to", hint=hint)
    if scheme == "unix" or keys is None:
        return Endpoint(url, rule)
    return Endpoint(f"https://{rest}", rule, _tls(keys, rule, verify=verify))


def _tls(keys: Path, rule: str, *, verify: bool) -> ssl.SSLContext:
    authority, certificate = keys / "ca.pem", keys / "cert.pem"
    try:
        found = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
        if certificate.exists():
            found.load_cert_chain(certificate, keys / "key.pem")
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(f"{rule}: the certificates in {keys} cannot be used: {exc}") from exc
    if not verify:
        found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # as a service, the home may be out of reach
        return {}
    except (OSError, ValueError) as exc:
        raise ConfigError(
            f"{path} cannot be read: {exc}", hint="it is the docker client's; DOCKER_HOST overrides it"
        ) from exc
    return found if isinstance(found, dict) else {}


def _elsewhere() -> str:
    found = other_sockets()
    return (
        f"DOCKER_HOST=unix://{found[0]} names the one that is there"
        if found
        else "start one, or point DOCKER_HOST at it"
    )

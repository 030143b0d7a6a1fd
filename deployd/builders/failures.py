"""How a failed build is told, whichever builder ran it. Pure."""

import re

from deployd.errors import BuildFailed, DeploydError, Unavailable

_AWAY = re.compile(
    r"dial tcp|i/o timeout|no such host|connection re(?:fused|set)|TLS handshake|toomanyrequests|EOF$"
    r"|Client\.Timeout|context deadline exceeded|network is unreachable|server misbehaving|\b50[0-4]\b"
)
_KILLED = 137


def step_failed(where: str, code: int, last_lines: str) -> BuildFailed:
    """A command of the build ended with `code`; what it printed last is the best hint there is."""
    killed = "\n137 means killed, mostly for lack of memory: see builder.memory" if code == _KILLED else ""
    return BuildFailed(f"{where}exit code {code}", hint=last_lines + killed)


def base_failed(where: str, text: str) -> DeploydError:
    """A base image could not be had: its registry is away, or it does not have the image for us."""
    if _AWAY.search(text):
        return Unavailable(f"{where}{text}", hint="the registry of the base image cannot be reached")
    return BuildFailed(
        f"{where}{text}",
        hint="is the base image's name right? one of a private registry needs its credentials in [registry]",
    )

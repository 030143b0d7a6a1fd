"""Explains git's error output about a remote: its cause, the message and hint for a person, and whether to try again.

Pure. The patterns match the English messages of git, curl, OpenSSH and the forges (git runs with LC_ALL=C).
"""

import re
from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """Why a network command failed, as far as it decides what to do next."""

    ABSENT = "the remote does not have the object, perhaps not yet"
    UNADVERTISED = "the remote sends only what its refs point to"
    FULL = "our disk is full"
    REFUSED = "another try would fail in the same way"
    NETWORK = "another try may succeed"
    UNKNOWN = "the mirror may be damaged"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a git command failed, for a person."""

    cause: Cause
    message: str
    hint: str = ""


def diagnose(error: str, owner: str) -> Diagnosis:
    """The diagnosis of git's error output. `error` must be free of secrets; `owner` is as in Remote."""
    text = error.lower()
    for cause, pattern, message, hint in _PATTERNS:
        if re.search(pattern, text):
            return Diagnosis(cause, f"{message} ({_essence(error)})", hint.format(owner=owner))
    return Diagnosis(Cause.UNKNOWN, f"git failed: {_essence(error)}", "the log has git's whole output")


def _essence(error: str) -> str:
    """The line with git's error, without the advice around it."""
    lines = [line for line in error.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))]
    return (errors or lines or ["no message"])[0][:300]


_KEY = "check {owner}.credentials (https) or {owner}.ssh_key (ssh): it must be able to read this repository"
# The first pattern that matches decides.
_PATTERNS: tuple[tuple[Cause, str, str, str], ...] = (
    (
        Cause.FULL,
        r"no space left on device|disk quota exceeded",
        "the disk is full",
        "free space under server.state_dir",
    ),
    (
        Cause.ABSENT,
        r"not our ref|couldn't find remote ref",
        "the remote does not have the commit",
        "check that it was pushed to this repository, and not removed by a forced push",
    ),
    (
        Cause.UNADVERTISED,
        r"unadvertised object|want [0-9a-f]{40,64} not valid",
        "the remote does not send the commit",
        "check that it was pushed to this repository, and not removed by a forced push",
    ),
    (
        Cause.REFUSED,
        r"host key verification failed|host key is known|host identification has changed",
        "the host key of the remote differs from the known one",
        "put the host's present key into {owner}.known_hosts, or remove the old one from the known_hosts file",
    ),
    (
        Cause.REFUSED,
        (
            r"authentication failed|could not read (username|password)|permission denied|terminal prompts disabled"
            r"|returned error: 40[13]|access denied|error in libcrypto|invalid format"
        ),
        "the remote denies access",
        _KEY,
    ),
    (
        Cause.REFUSED,
        r"returned error: 30\d|from redirection",
        "the repository has moved",
        "set {owner}.repo to its new URL",
    ),
    (
        Cause.REFUSED,
        (
            r"repository .*not found|returned error: 404|does not appear to be a git repository|project .*not found"
            r"|no such file or directory.*repository|repository .*does not exist"
        ),
        "the repository does not exist, or deployd may not see it",
        "compare {owner}.repo with the forge; " + _KEY,
    ),
    (
        Cause.REFUSED,
        r"transport '.*' not allowed|protocol '.*' is not supported|unable to find remote helper",
        "the protocol of the repository's URL is not allowed",
        "use https or ssh in {owner}.repo",
    ),
    (
        Cause.NETWORK,
        r"could not resolve host|name or service not known|name resolution",
        "the host name of the remote cannot be resolved",
        "check {owner}.repo and this machine's DNS",
    ),
    (
        Cause.NETWORK,
        r"certificate|ssl|tls",
        "the remote's TLS certificate or settings are not accepted",
        "add a private CA to this machine's trusted certificates",
    ),
    (
        Cause.NETWORK,
        (
            r"connection (refused|reset|timed out|closed)|failed to connect|couldn't connect|network is unreachable"
            r"|no route to host|operation too slow|operation timed out|early eof|unexpected(ly)? disconnect|hung up"
            r"|rpc failed|transfer closed|returned error: (429|5\d\d)|empty reply|expected flush|unexpected eof"
            r"|broken pipe|did not end within|kex_exchange|ended unexpectedly|protocol error|bad line length"
            r"|could not read from remote repository"
        ),
        "the remote does not answer as expected",
        "deployd tries again by itself; check that the remote is up and reachable from this machine",
    ),
)

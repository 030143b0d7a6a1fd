"""What git's complaints about a remote mean: what lies behind them, what to tell a person, whether to ask again.

Pure: text in, meaning out. The texts are those of git, curl, OpenSSH and the forges, in English (git runs with LC_ALL=C).
"""

import re
from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """What lies behind a failed network command, as far as what to do next depends on it."""

    ABSENT = "the remote does not show the object, perhaps not yet"
    UNADVERTISED = "the remote hands out only what its refs point to"
    FULL = "our disk"
    REFUSED = "asking again gives the same answer"
    NETWORK = "asking again may help"
    UNKNOWN = "perhaps our own mirror"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a remote's complaint means, in words for a person."""

    cause: Cause
    message: str
    hint: str = ""


def trouble(complaint: str, owner: str) -> Trouble:
    """What git's complaint about a remote means. `complaint` must be cleaned of secrets before; `owner` is as in Remote."""
    text = complaint.lower()
    for cause, pattern, message, hint in _MEANINGS:
        if re.search(pattern, text):
            return Trouble(cause, f"{message} ({_last(complaint)})", hint.format(owner=owner))
    return Trouble(Cause.UNKNOWN, f"git failed: {_last(complaint)}", "the log has all that git said")


def _last(complaint: str) -> str:
    """The line that says most: git's own verdict, not the advice around it."""
    lines = [line for line in complaint.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "ERROR:"))]
    return (telling or lines or ["no message"])[0][:300]


_KEY = "look at {owner}.credentials (https) or {owner}.ssh_key (ssh): it must be able to read this repository"
# In this order: the first that is found says it.
_MEANINGS: tuple[tuple[Cause, str, str, str], ...] = (
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
        "was it pushed to this repository, and not removed by a forced push?",
    ),
    (
        Cause.UNADVERTISED,
        r"unadvertised object|want [0-9a-f]{40,64} not valid",
        "the remote does not hand out the commit",
        "was it pushed to this repository, and not removed by a forced push?",
    ),
    (
        Cause.REFUSED,
        r"host key verification failed|host key is known|host identification has changed",
        "the host key of the remote is not the known one",
        "put the host's present key into {owner}.known_hosts, or remove its old line from the known_hosts file",
    ),
    (
        Cause.REFUSED,
        (
            r"authentication failed|could not read (username|password)|permission denied|terminal prompts disabled"
            r"|returned error: 40[13]|access denied|error in libcrypto|invalid format"
        ),
        "the remote does not let us in",
        _KEY,
    ),
    (
        Cause.REFUSED,
        r"returned error: 30\d|from redirection",
        "the repository has moved",
        "write its new URL into {owner}.repo",
    ),
    (
        Cause.REFUSED,
        (
            r"repository .*not found|returned error: 404|does not appear to be a git repository|project .*not found"
            r"|no such file or directory.*repository|repository .*does not exist"
        ),
        "there is no such repository, or it is hidden from us",
        "compare {owner}.repo with the forge; " + _KEY,
    ),
    (
        Cause.REFUSED,
        r"transport '.*' not allowed|protocol '.*' is not supported|unable to find remote helper",
        "the protocol of the repository's URL may not be used",
        "use https or ssh in {owner}.repo",
    ),
    (
        Cause.NETWORK,
        r"could not resolve host|name or service not known|name resolution",
        "the name of the remote's host does not resolve",
        "check {owner}.repo and this machine's DNS",
    ),
    (
        Cause.NETWORK,
        r"certificate|ssl|tls",
        "the remote's certificate or TLS set-up is not accepted",
        "this machine's CA certificates decide; a private CA belongs into its trust store",
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
        "the remote does not answer as it should",
        "deployd tries again by itself; is the remote up and reachable from this machine?",
    ),
)

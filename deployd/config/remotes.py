"""The name of a repository, the same for each of its URLs: its host and full path, `github.com/acme/iris`. Pure."""

import re
from urllib.parse import urlsplit

# git@host:path, for ssh.
SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?!//)(?P<path>.+)")

# The forges' ssh at port 443, for networks that allow no other port.
_SAME = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}

_FORGES = {"gitlab": "gitlab", "gitea": "gitea", "forgejo": "gitea", "codeberg": "gitea", "bitbucket": "bitbucket"}


def forge_section(url: str) -> str:
    """The config section of the forge that the host of a URL suggests; GitHub's by default."""
    host = (repository_name(url) or "").partition("/")[0]
    return next((section for word, section in _FORGES.items() if word in host), "github")


def repository_name(url: str) -> str | None:
    """The name of the repository at `url`, in lower case. None for a path, since a forge does not know it.

    It holds subgroups, but no user, port, scheme or `.git`.
    """
    if "://" in url:
        try:
            parts = urlsplit(url)
        except ValueError:  # such as https://[::1/x
            return None
        host, path = "" if parts.scheme == "file" else parts.hostname or "", parts.path
    elif (scp := SCP.fullmatch(url)) is not None:
        host, path = scp["host"].lower(), scp["path"]
    else:
        return None
    path = path.strip("/").removesuffix(".git").lower()
    return f"{_SAME.get(host, host)}/{path}" if host and path else None

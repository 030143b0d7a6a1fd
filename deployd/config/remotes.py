"""What a repository is called, wherever it is asked for: its host and its full path, `github.com/acme/iris`. Pure."""

import re
from urllib.parse import urlsplit

# git@host:path, as ssh takes it.
SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[^/:]+):(?!//)(?P<path>.+)")

_SAME = {"ssh.github.com": "github.com"}  # GitHub's ssh at port 443, for networks that let nothing else out


def called(url: str) -> str | None:
    """The name of the repository at `url`, in lower case; None for a path, which does not say what a forge calls it.

    Subgroups belong to it; user, port and `.git` do not, nor whether it is asked for by https or by ssh.
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

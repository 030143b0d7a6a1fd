"""A configured git remote: the protocols that are allowed for it, and how git authenticates to it.

Credentials are passed only in git's environment (readable by the daemon's own user), never in a URL, argv or log. Knows nothing
of what is fetched.
"""

import base64
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from deployd.config.app import App
from deployd.config.values import read_secret
from deployd.errors import BuildFailed
from deployd.source.git import Git

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_HELPER = re.compile(r"([^/:]+)::")
_STALL_S = 60


@dataclass(frozen=True, slots=True)
class Session:
    """The environment of one network command: a hardened Git (without a repository), a private directory that is removed
    afterwards, and the secrets that must be masked in git's output."""

    git: Git
    private: Path
    secrets: tuple[str, ...]

    def on(self, directory: Path) -> Git:
        """The same Git on a repository."""
        return replace(self.git, directory=directory)

    def clean(self, text: str) -> str:
        """`text` without secrets, without credentials in URLs and without control characters."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        text = re.sub(r"(?<=://)[^/@\s]+@", "***@", text)
        return re.sub(r"[^\S\n]+", " ", "".join(c for c in text if c.isprintable() or c in "\n\t ")).strip()


@dataclass(frozen=True, slots=True)
class Remote:
    """The remote from which commits are fetched. `owner` is the path of its config keys (`app.iris`); secrets are still
    references."""

    url: str
    owner: str = field(compare=False)
    credentials: str | None = None
    ssh_key: str | None = None
    known_hosts: str | None = None
    allow_file: bool = False

    @classmethod
    def of(cls, app: App, *, allow_file: bool) -> "Remote":
        """The remote of an app."""
        return cls(app.repo, f"app.{app.name}", app.credentials, app.ssh_key, app.known_hosts, allow_file)

    @property
    def protocol(self) -> str:
        """https, http, ssh or file, as git reads the URL; anything else is the name of a remote helper."""
        if match := _SCHEME.match(self.url) or _HELPER.match(self.url):
            return match[1]
        return "file" if self.url.startswith("/") or ":" not in self.url.split("/")[0] else "ssh"

    def submodule(self, url: str) -> "Remote":
        """The remote of a URL from .gitmodules; relative URLs resolve against this remote. BuildFailed when it is not allowed."""
        found = replace(self, url=_resolve(self.url, url) if url.startswith(("./", "../")) else url)
        allowed = {"https", "ssh", self.protocol} - ({"file"} if not self.allow_file else set())
        if found.protocol not in allowed or found.url.startswith("-") or not url.isprintable():
            raise BuildFailed(
                f"the submodule URL {url!r} is not allowed",
                hint=f"submodules may use {', '.join(sorted(allowed))}",
            )
        # The token is only for the host in the configuration: anyone who pushes can name another one.
        return found if urlsplit(found.url)[:2] == urlsplit(self.url)[:2] else replace(found, credentials=None)

    @contextmanager
    def session(self, root: Path) -> Iterator[Session]:
        """Read the secrets and give them to git, in a private directory below `root` that is removed after the block.

        ConfigError when a reference cannot be read.
        """
        private = Path(tempfile.mkdtemp(prefix="session-", dir=root))
        try:
            header, secrets = self._header()
            settings = {"http.lowSpeedLimit": "1", "http.lowSpeedTime": str(_STALL_S), **header}
            # Git would send our header to the host that a redirect names.
            settings["http.followRedirects"] = "false" if header else "initial"
            environment = {
                "HOME": str(private),
                "GIT_ALLOW_PROTOCOL": ":".join(sorted({"https", "ssh", self.protocol})),
                "GIT_CONFIG_GLOBAL": str(self._trust(private)),
                "GIT_SSH_COMMAND": shlex.join(self._ssh(private, root)),
                "GIT_SSH_VARIANT": "ssh",
            }
            yield Session(Git(None, settings, environment), private, secrets)
        finally:
            shutil.rmtree(private, ignore_errors=True)

    def _header(self) -> tuple[dict[str, str], tuple[str, ...]]:
        if self.credentials is None or self.protocol not in {"http", "https"}:
            return {}, ()
        token = read_secret(self.credentials, f"{self.owner}.credentials")
        pair = token if ":" in token else f"x-access-token:{token}"
        encoded = base64.b64encode(pair.encode()).decode()
        parts = urlsplit(self.url)
        key = f"http.{parts.scheme}://{parts.netloc}/.extraHeader"
        return {key: f"Authorization: Basic {encoded}"}, (encoded, pair.partition(":")[2])

    def _trust(self, private: Path) -> Path:
        """Mark a local remote as safe, whatever user owns it. Only this file reaches the process that git starts for the
        remote."""
        trusted = private / "config"
        path = self.url.removeprefix("file://")
        directories = (path, f"{path.rstrip('/')}/.git") if self.protocol == "file" else ()
        lines = "".join('\tdirectory = "{}"\n'.format(re.sub(r'(["\\])', r"\\\1", name)) for name in directories)
        trusted.write_text(f"[safe]\n{lines}", "utf-8")
        return trusted

    def _ssh(self, private: Path, root: Path) -> list[str]:
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "ServerAliveInterval": "15",
            "ControlPath": "none",
            "ForwardAgent": "no",
            "PermitLocalCommand": "no",
            "UserKnownHostsFile": str(root / "known_hosts"),
            "StrictHostKeyChecking": "accept-new",
        }
        if self.known_hosts is not None:
            known = _private_file(private / "known_hosts", read_secret(self.known_hosts, f"{self.owner}.known_hosts"))
            options |= {
                "UserKnownHostsFile": str(known),
                "GlobalKnownHostsFile": "/dev/null",
                "StrictHostKeyChecking": "yes",
            }
        key: tuple[str, ...] = ()
        if self.ssh_key is not None:
            options |= {"IdentitiesOnly": "yes", "IdentityAgent": "none"}
            secret = read_secret(self.ssh_key, f"{self.owner}.ssh_key")
            key = ("-i", str(_private_file(private / "key", secret)))
        return ["ssh", "-F", "/dev/null", *key, *(f"-o{name}={value}" for name, value in options.items())]


def _private_file(path: Path, text: str) -> Path:
    path.touch(0o600)
    # OpenSSH refuses keys with Windows line endings or without a newline at the end.
    path.write_text(text.replace("\r\n", "\n").rstrip("\n") + "\n", "utf-8")
    return path


def _resolve(base: str, relative: str) -> str:
    """Resolves as git does for submodules: `base` is a directory, in the scp-like form too."""
    scheme = match[0] if (match := _SCHEME.match(base)) else ""
    base = base.removeprefix(scheme).rstrip("/")
    while relative.startswith(("./", "../")):
        step, _, relative = relative.partition("/")
        if step == "..":
            cut = max(base.rfind("/"), base.rfind(":") if not scheme else -1)
            if cut < 1:
                raise BuildFailed("a relative submodule URL goes above the root of the remote's host")
            base = base[: cut + 1] if base[cut] == ":" else base[:cut]
    return f"{scheme}{base}{'' if base.endswith(':') else '/'}{relative}".rstrip("/")

"""`deployd init`: write a first config.toml for a repository.

Where deployd is a service of systemd, the secret is a credential of its unit, else a variable of the environment.
"""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from deployd.cli.output import out
from deployd.config.docker import DockerApp
from deployd.config.remotes import forge_section
from deployd.errors import RequestRefused
from deployd.host.service import Service, installed

_EXPOSE = re.compile(r"^\s*EXPOSE\s+(\d+)", re.IGNORECASE | re.MULTILINE)
_LISTEN = 8000


@dataclass(frozen=True, slots=True)
class Repository:
    """Facts about a repository: its remote, its Dockerfile, the port that the app listens on."""

    name: str
    repo: str
    branch: str
    dockerfile: str | None
    port: int
    golden: bool

    @property
    def is_local(self) -> bool:
        """Whether it has no remote."""
        return self.repo.startswith((".", "/", "file:"))

    @property
    def forge(self) -> str:
        """The config section of its forge, guessed from the host's name; GitHub's by default."""
        return forge_section(self.repo)


def write(path: Path, *, force: bool) -> None:
    """Write the config to `path`, and print what is left to do. RequestRefused when the file exists."""
    found, service = inspect(Path()), installed()
    text = rendered(found, "credential:webhook_secret" if service is not None else "env:DEPLOYD_WEBHOOK_SECRET")
    if path.exists() and not force:
        raise RequestRefused(409, f"{path} exists", hint="--force replaces it, --output FILE writes another file")
    try:
        path.write_text(text, "utf-8")
    except OSError as exc:
        raise RequestRefused(409, f"{path} cannot be written: {exc.strerror}") from exc
    out().print(
        f"{path} is written: branch {found.branch} of {found.repo} is served as {found.name} on port {_LISTEN}",
        soft_wrap=True,
    )
    if found.dockerfile is None:
        out().print("The repository has no Dockerfile yet: add one, or name it in [app.build].", style="yellow")
    out().print(f"Next: {_next(path, service)}", soft_wrap=True)


def inspect(directory: Path) -> Repository:
    """Look at the repository that `directory` is in. RequestRefused when it is in none."""
    top = _git(directory, "rev-parse", "--show-toplevel")
    if top is None:
        raise RequestRefused(
            409, f"{directory.absolute()} is not in a git repository", hint="change to the repository, or run git init"
        )
    root = Path(top)
    remote = _without_password(_git(root, "config", "--get", "remote.origin.url") or "")
    dockerfile = next((name for name in ("Dockerfile", "docker/Dockerfile") if (root / name).is_file()), None)
    exposed = _EXPOSE.search((root / dockerfile).read_text("utf-8", "replace")) if dockerfile else None
    name = remote.rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2] or root.name
    return Repository(
        name=_label(name),
        repo=remote or str(root),
        branch=_git(root, "symbolic-ref", "--short", "HEAD") or "main",
        dockerfile=dockerfile,
        port=int(exposed[1]) if exposed else DockerApp().port,
        golden=(root / "golden.json").is_file(),
    )


def rendered(found: Repository, secret: str) -> str:
    """The text of the config file; `secret` refers to the secret of the webhook."""
    local = (
        "\n[git]\nallow_file = true                   # the repository is on this machine\n" if found.is_local else ""
    )
    golden = (
        '\n[app.golden]                        # requests, and the answers that they must get\nfile = "golden.json"\n'
    )
    dockerfile = found.dockerfile or "Dockerfile"
    return f"""\
# deployd for {found.name}. The config.toml of deployd's own repository explains every key.
# `deployd check` tries this file.

[server]
# base_url = "https://deployd.example.com"   # the public address of deployd

[{found.forge}]
secrets = ["{secret}"]    # where the secret is, never its value
{local}
[[app]]
name = "{found.name}"
repo = "{found.repo}"
branch = "{found.branch}"
paths = ["**"]                              # only changes to these files count
# credentials = "env:GIT_TOKEN"             # for https; ssh_key = "file:PATH" for ssh

[app.build]
dockerfile = "{dockerfile}"

[app.docker]
port = {found.port}                                 # where the container listens

[app.gateway]
listen = {_LISTEN}                               # the port that clients use

[app.ready]
path = "/v2/health/ready"                   # must answer 2xx before the container gets traffic
{golden if found.golden else ""}"""


def _next(path: Path, service: Service | None) -> str:
    """The next steps after the file is written."""
    if service is None:
        return f"export DEPLOYD_WEBHOOK_SECRET=…, then: deployd check -c {path}, deployd run -c {path}"
    if service.config is None or service.config == path.absolute():
        return "sudo deployd check"
    return f"sudo install -m 0640 -g deployd {path} {service.config}, then: sudo deployd check"


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _without_password(url: str) -> str:
    """The address without a user name or token: a config file must not hold them."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _label(name: str) -> str:
    """`name` as a DNS label of at most 40 characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "app"

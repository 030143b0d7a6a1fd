"""The part of config.toml about the daemon: its address, its state, its builder, its gateway, its limits."""

import hashlib
import ipaddress
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from deployd.config.app import App
from deployd.config.forges import Bitbucket, Gitea, Gitlab, Mlflow
from deployd.config.notify import Notify
from deployd.config.values import Count, Duration, Name, Port, Reference, Section, Size

SOCKET = "deployd.sock"


def runtime_dir() -> Path | None:
    """systemd's RuntimeDirectory; None outside of the service."""
    given = os.environ.get("RUNTIME_DIRECTORY")
    return Path(given.split(":")[0]) if given else None


def default_state_dir() -> Path:
    """systemd's StateDirectory, else /var/lib/deployd for root, else the user's own state directory."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0:
        return Path("/var/lib/deployd")
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "deployd"


class Tls(Section):
    """`[server.tls]`"""

    certificate: Path
    key: Path


class ServerSection(Section):
    """`[server]`"""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8081
    socket: Path | None = None
    base_url: str = ""
    state_dir: Path = Field(default_factory=default_state_dir)
    instance: Name | None = None
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    max_body: Size = 25 * 1024 * 1024
    stop_timeout: Duration = 30.0
    tls: Tls | None = None

    @property
    def local_socket(self) -> Path:
        """The Unix socket of the command line."""
        return self.socket or (runtime_dir() or self.state_dir) / SOCKET

    @property
    def identity(self) -> str:
        """The value of the label `io.deployd.instance`: it tells the daemons on one engine apart."""
        return self.instance or hashlib.sha256(str(self.state_dir.absolute()).encode()).hexdigest()[:12]


def _digest(text: str) -> str:
    if re.fullmatch("[0-9a-f]{64}", text) is None:
        raise ValueError("expected 64 hexadecimal digits, as `deployd token new` prints them")
    return text


Digest = Annotated[str, AfterValidator(_digest), WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$"})]


class Token(Section):
    """One of `[auth] tokens`. Only the SHA-256 of the token is stored."""

    name: Name
    role: Literal["read", "deploy", "admin"]
    sha256: Digest


class Auth(Section):
    """`[auth]`"""

    tokens: tuple[Token, ...] = ()


def _app_id(given: object) -> object:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _api_url(text: str) -> str:
    if re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#@]*)?", text) is None:
        raise ValueError('expected a URL, such as "https://api.github.com" or "https://HOST/api/v3"')
    return text.rstrip("/")


class GithubApp(Section):
    """`[github.app]`"""

    id: Annotated[str, BeforeValidator(_app_id)]
    key: Reference
    installation: Annotated[int, Field(ge=1)] | None = None


class Github(Section):
    """`[github]`"""

    secrets: tuple[Reference, ...] = ()
    api_url: Annotated[str, AfterValidator(_api_url)] = "https://api.github.com"
    token: Reference | None = None
    app: GithubApp | None = None
    report: Literal["deployments", "statuses", "off"] = "off"

    @property
    def host(self) -> str:
        """The host in the names of the repositories that the API serves: `github.com`, `github.example.com`."""
        return (urlsplit(self.api_url).hostname or "").removeprefix("api.")

    @model_validator(mode="after")
    def _may_report(self) -> Self:
        if self.report != "off" and self.token is None and self.app is None:
            raise ValueError(f'report = "{self.report}" needs a token or a table [github.app]')
        return self


class Git(Section):
    """`[git]`"""

    poll_every: Duration = 180.0
    timeout: Duration = 300.0
    max_size: Size = 2 * 1024**3
    allow_file: bool = False


class BuilderSection(Section):
    """`[builder]`"""

    kind: Literal["engine", "buildkit"] = "engine"
    address: str | None = None
    concurrency: Annotated[int, Field(ge=1)] = 2
    timeout: Duration = 3600.0
    cpus: Annotated[float, Field(gt=0)] | None = None
    memory: Size | None = None
    cache_limit: Size | None = None

    @property
    def cache_bytes(self) -> int:
        """The limit of what deployd's own builds left."""
        return 20 * 1024**3 if self.cache_limit is None else self.cache_limit


class Registry(Section):
    """`[registry]`"""

    url: str
    username: str | None = None
    password: Reference | None = None
    insecure: bool = False

    @property
    def prefix(self) -> str:
        """The beginning of every image's name: `registry.example.com:5000/team`."""
        return self.url.partition("://")[2].rstrip("/") if "://" in self.url else self.url.rstrip("/")


def _buffer(number: int) -> int:
    if not 16 * 1024 <= number <= 1024**2:
        raise ValueError('must be at least "16KiB" and at most "1MiB"')
    return number


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as exc:
        raise ValueError('expected an address or a network, such as "10.0.0.7" or "10.0.0.0/8"') from exc


class GatewaySection(Section):
    """`[gateway]`"""

    image: str = "haproxy:lts"
    network: Literal["auto", "host", "bridge"] = "auto"
    bind: str = "0.0.0.0"  # noqa: S104 - the gateway is the public face of the apps
    http_port: Port | None = None
    https_port: Port | None = None
    certificates: Path | None = None
    stats_port: Port | None = None
    buffer: Annotated[Size, AfterValidator(_buffer)] | None = None
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = ()

    @property
    def tls(self) -> bool:
        """Whether the gateway ends TLS."""
        return self.https_port is not None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.https_port is not None and self.certificates is None:
            raise ValueError("https_port needs certificates, a directory of PEM files")
        return self


class Supersede(Section):
    """`[supersede]`"""

    finish_after: Duration = 900.0


class Retention(Section):
    """`[retention]`"""

    images: Count = 5
    image_bytes: Size = 20 * 1024**3
    logs: Count = 200
    log_bytes: Size = 1024**3
    deliveries: Duration = 30 * 86400.0
    models: Annotated[Count, Field(ge=1)] = 10


class Config(Section):
    """All of config.toml."""

    server: ServerSection = Field(default_factory=ServerSection)
    auth: Auth = Auth()
    github: Github = Github()
    gitlab: Gitlab = Gitlab()
    gitea: Gitea = Gitea()
    bitbucket: Bitbucket = Bitbucket()
    mlflow: Mlflow = Mlflow()
    git: Git = Git()
    builder: BuilderSection = BuilderSection()
    registry: Registry | None = None
    gateway: GatewaySection = GatewaySection()
    supersede: Supersede = Supersede()
    retention: Retention = Retention()
    notify: Notify = Notify()
    app: tuple[App, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        taken: dict[str, str] = {}
        for claim, by in self._claims():
            if claim in taken:
                twice = f"twice by {by}" if taken[claim] == by else f"by {taken[claim]} and by {by}"
                raise ValueError(f"{claim} is used {twice}")
            taken[claim] = by
        for app in self.app:
            if app.target == "kubernetes" and self.registry is None:
                raise ValueError(
                    f"app {app.name} runs on Kubernetes, which pulls its image from a registry: add a table [registry]"
                )
            if app.require == "checks":
                self._may_be_asked_for_checks(app)
            if app.gateway.hosts and self.gateway.http_port is None and self.gateway.https_port is None:
                raise ValueError(f"app {app.name} has hosts: [gateway] needs http_port or https_port")
        return self

    def _may_be_asked_for_checks(self, app: App) -> None:
        if self.github.token is None and self.github.app is None:
            raise ValueError(f'app {app.name} has require = "checks": [github] needs a token, or a table [github.app]')
        host = (app.webhook_name or "").partition("/")[0]
        if host != self.github.host:
            raise ValueError(
                f'app {app.name} has require = "checks": its repository is not on the GitHub of {self.github.api_url}'
            )

    def _claims(self) -> Iterator[tuple[str, str]]:
        """Claims to values that must be unique (names, the gateway's ports, hosts with their paths), each with its claimant."""
        for key in ("http_port", "https_port", "stats_port"):
            if (port := getattr(self.gateway, key)) is not None:
                yield f"port {port}", f"gateway.{key}"
        for app in self.app:
            yield f"the name {app.name}", f"app {app.name}"
            if app.target == "docker" and app.gateway.listen is not None:
                yield f"port {app.gateway.listen}", f"app {app.name}"
            for host in app.gateway.hosts:
                yield f"{host}{app.gateway.path_prefix.rstrip('/')}", f"app {app.name}"

    def find(self, name: str) -> App | None:
        """The app of that name."""
        return next((app for app in self.app if app.name == name), None)

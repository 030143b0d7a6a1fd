"""The part of config.toml about one app: where its commits come from, how it is built, where it runs, what it must prove."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from deployd.config.globs import is_path_pattern
from deployd.config.remotes import SCP, repository_name
from deployd.config.values import Count, Duration, Name, Port, Reference, Section, Size

_WEBHOOK = re.compile(r"[a-z0-9.-]+(?:/[^/\s:]+){2,}")


def _repository(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if separator and scheme in {"https", "ssh", "http", "file"}:
        if scheme in {"https", "http"} and "@" in rest.split("/")[0]:
            raise ValueError("must not hold a user name or token; set credentials instead")
        return url
    if SCP.fullmatch(url) or url.startswith(("/", ".")):
        return url
    raise ValueError("expected an https, ssh or file URL, user@host:path, or a path that starts with / or .")


def _webhook_name(name: str) -> str:
    name = name.lower()
    if _WEBHOOK.fullmatch(name) is None or name.endswith(".git"):
        raise ValueError("expected the repository's host and full path, such as github.com/acme/iris")
    return name


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise ValueError("expected a path inside the repository, without ..")
    return str(pure)


def _ref_part(name: str) -> str:
    if (
        not name
        or name.startswith(("-", "refs/", "/"))
        or any(mark in name for mark in (" ", "..", "~", "^", ":", "\\"))
    ):
        raise ValueError("expected a plain branch or tag name, such as main or release/1.2, without refs/")
    return name


def _http_path(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must begin with /")
    if re.search(r"\s", path):
        raise ValueError("must not hold a space")
    return path


def _path_prefix(path: str) -> str:
    if re.fullmatch(r"/[A-Za-z0-9._~/-]*", path) is None:
        raise ValueError(
            "expected /, or a path of letters, digits and the signs . _ ~ - between slashes, such as /iris/v1"
        )
    return path


def _gpus(value: Any) -> Any:
    if value != "all" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError('expected "all" or a number')
    return value


def _path_pattern(text: str) -> str:
    if not is_path_pattern(text):
        raise ValueError('expected a pattern, such as "src/", "*.py" or "!docs/"')
    return text


Inside = Annotated[str, AfterValidator(_inside)]
RefName = Annotated[str, AfterValidator(_ref_part)]
PathPattern = Annotated[str, AfterValidator(_path_pattern)]
HttpPath = Annotated[str, AfterValidator(_http_path), WithJsonSchema({"type": "string", "pattern": r"^/[^\s]*$"})]
Gpus = Annotated[Literal["all"] | int, BeforeValidator(_gpus)]


class Build(Section):
    """`[app.build]`"""

    context: Inside = "."
    dockerfile: Inside = "Dockerfile"
    args: dict[str, str] = {}
    secrets: dict[str, Reference] = {}
    stage: str | None = None
    submodules: bool = False
    lfs: bool = False


class DockerApp(Section):
    """`[app.docker]`"""

    port: Port = 5000
    env: dict[str, str] = {}
    env_secrets: dict[str, Reference] = {}
    volumes: tuple[str, ...] = ()
    memory: Size | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None
    network: str | None = None
    gpus: Gpus | None = None
    restart: Literal["no", "on-failure", "always", "unless-stopped"] = "unless-stopped"
    stop_timeout: Duration = 10.0
    drain: Duration = 30.0
    start: Literal["first", "stop-first"] = "first"


class AppGateway(Section):
    """`[app.gateway]`"""

    listen: Port | None = None
    hosts: tuple[str, ...] = ()
    path_prefix: Annotated[str, AfterValidator(_path_prefix)] = "/"
    strip_prefix: bool = False


class Ready(Section):
    """`[app.ready]`"""

    path: HttpPath = "/v2/health/ready"
    within: Duration = 60.0
    every: Duration = 0.25
    commit_path: HttpPath | None = None


class Golden(Section):
    """`[app.golden]`"""

    file: Inside
    url: HttpPath = "/predict"
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    latency: Duration | None = None


class Service(Section):
    """`[app.kubernetes.service]`"""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    port: Port = 80
    node_port: Port | None = None


class Autoscale(Section):
    """`[app.kubernetes.autoscale]`"""

    min: Annotated[int, Field(ge=1)] = 1
    max: Annotated[int, Field(ge=1)]
    cpu: Annotated[int, Field(ge=1, le=1000)] = 80


class Resources(Section):
    """`[app.kubernetes.resources]`: Kubernetes quantities, such as `"250m"` and `"256Mi"`."""

    requests: dict[Literal["cpu", "memory"], str] = {}
    limits: dict[Literal["cpu", "memory"], str] = {}


class KubernetesApp(Section):
    """`[app.kubernetes]`"""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str = "default"
    deployment: str | None = None
    container: str | None = None
    create: bool = True
    replicas: Count = 1
    port: Port = 5000
    env: dict[str, str] = {}
    service: Service | None = None
    autoscale: Autoscale | None = None
    progress_deadline: Duration = 600.0
    patience: Duration = 12.0
    bake: Duration = 10.0
    allow_root: bool = False
    image_pull_secrets: tuple[str, ...] = ()
    resources: Resources = Resources()


class App(Section):
    """`[[app]]`"""

    name: Name
    repo: Annotated[str, AfterValidator(_repository)]
    webhook: Annotated[str, AfterValidator(_webhook_name)] | None = None
    branch: RefName | None = None
    tag: RefName | None = None
    paths: tuple[PathPattern, ...] = ("**",)
    credentials: Reference | None = None
    ssh_key: Reference | None = None
    known_hosts: Reference | None = None
    target: Literal["docker", "kubernetes"] = "docker"
    build: Build = Build()
    docker: DockerApp = DockerApp()
    gateway: AppGateway = AppGateway()
    ready: Ready = Ready()
    golden: Golden | None = None
    kubernetes: KubernetesApp | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.branch is None) == (self.tag is None):
            raise ValueError("needs either branch or tag, and not both")
        if self.target == "kubernetes" and self.kubernetes is None:
            raise ValueError('target = "kubernetes" needs a table [app.kubernetes]')
        if self.target == "docker" and self.gateway.listen is None and not self.gateway.hosts:
            raise ValueError("[app.gateway] needs listen (a port) or hosts, so that clients can reach the app")
        if self.target == "docker" and self.docker.network == "host" and self.docker.start == "first":
            raise ValueError(
                'docker.network = "host" gives two releases the same port, so docker.start must be "stop-first"'
            )
        if self.credentials and self.ssh_key:
            raise ValueError("set either credentials (for https) or ssh_key (for ssh), not both")
        return self

    @property
    def ref(self) -> str:
        """The full ref that the app follows; for tags a pattern, `refs/tags/v*`."""
        return f"refs/heads/{self.branch}" if self.branch is not None else f"refs/tags/{self.tag}"

    @property
    def webhook_name(self) -> str | None:
        """The name by which webhooks match this app, `github.com/acme/iris`. None for a path without `webhook`: none matches."""
        return self.webhook or repository_name(self.repo)

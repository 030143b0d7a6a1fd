"""The part of config.toml about one app: its repository, its build, its target and its gates."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from deployd.config.docker import DockerApp
from deployd.config.gates import Compare, Evaluate, Golden
from deployd.config.globs import is_path_pattern
from deployd.config.headers import Headers
from deployd.config.kubernetes import KubernetesApp
from deployd.config.models import Model
from deployd.config.own_gates import Hook, OwnGate, names_differ
from deployd.config.record import Record
from deployd.config.remotes import SCP, repository_name
from deployd.config.values import Duration, EnvName, EnvValue, HttpPath, Inside, Name, Port, Reference, Section
from deployd.config.watch import Watch

_LABEL = r"[a-z0-9_](?:[-a-z0-9_]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_STAGE = re.compile(r"[A-Za-z][-_.A-Za-z0-9]*")
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


def _ref_part(name: str) -> str:
    if (
        not name
        or name.startswith(("-", "refs/", "/"))
        or any(mark in name for mark in (" ", "..", "~", "^", ":", "\\"))
    ):
        raise ValueError("expected a plain branch or tag name, such as main or release/1.2, without refs/")
    return name


def _path_prefix(path: str) -> str:
    if re.fullmatch(r"/[A-Za-z0-9._~/-]*", path) is None:
        raise ValueError(
            "expected /, or a path of letters, digits and the signs . _ ~ - between slashes, such as /iris/v1"
        )
    return path


def _stage(name: str) -> str:
    if _STAGE.fullmatch(name) is None:
        raise ValueError('expected the name of a stage, as in "FROM … AS serve"; builders find none by its number')
    return name


def _host_name(text: str) -> str:
    name = text.lower()
    if _HOST_NAME.fullmatch(name) is None or len(name) > 253 or name == "*":
        raise ValueError(
            'expected a host name, such as "iris.example.com" or "*.example.com": no https://, port, path or dot at the end'
        )
    return name


def _request_host(text: str) -> str:
    host, _, port = text.lower().rpartition(":")
    if _HOST_NAME.fullmatch(host or port) is None or (host and not port.isdigit()):
        raise ValueError('expected what a client sends as Host, such as "iris.example.com"')
    return text.lower()


def _without_host(table: dict[str, str]) -> dict[str, str]:
    if any(name.lower() == "host" for name in table):
        raise ValueError('the key "host" sets the host')
    return table


def _path_pattern(text: str) -> str:
    if not is_path_pattern(text):
        raise ValueError('expected a pattern, such as "src/", "*.py" or "!docs/"')
    return text


RefName = Annotated[str, AfterValidator(_ref_part)]
StageName = Annotated[str, AfterValidator(_stage)]
HostName = Annotated[str, AfterValidator(_host_name)]
RequestHost = Annotated[str, AfterValidator(_request_host)]
ReadyHeaders = Annotated[Headers, AfterValidator(_without_host)]
PathPattern = Annotated[str, AfterValidator(_path_pattern)]
Percent = Annotated[int, Field(ge=1, le=100)]


class Build(Section):
    """`[app.build]`"""

    context: Inside = "."
    dockerfile: Inside = "Dockerfile"
    args: dict[EnvName, EnvValue] = {}
    secrets: dict[str, Reference] = {}
    stage: StageName | None = None
    submodules: bool = False
    lfs: bool = False
    pull: Duration | None = None


class Checks(Section):
    """`[app.checks]`"""

    within: Duration = 3600.0
    names: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class AppGateway(Section):
    """`[app.gateway]`"""

    listen: Port | None = None
    hosts: tuple[HostName, ...] = ()
    path_prefix: Annotated[str, AfterValidator(_path_prefix)] = "/"
    strip_prefix: bool = False
    weights: tuple[Percent, ...] = ()
    step: Annotated[Duration, Field(gt=0)] = 10.0
    sticky: bool = False

    @field_validator("weights")
    @classmethod
    def _rising(cls, weights: tuple[int, ...]) -> tuple[int, ...]:
        if weights and (list(weights) != sorted(set(weights)) or weights[-1] != 100):
            raise ValueError("expected percentages that rise and end with 100, such as [5, 25, 100]")
        return weights


class Ready(Section):
    """`[app.ready]`"""

    path: HttpPath = "/v2/health/ready"
    within: Duration = 60.0
    every: Duration = 0.25
    commit_path: HttpPath | None = None
    host: RequestHost | None = None
    headers: ReadyHeaders = {}


class AppGithub(Section):
    """`[app.github]`"""

    environment: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    production: bool = True


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
    on_config_change: Literal["tell", "restart"] = "tell"
    require: Literal["checks"] | None = None
    prove_pull_requests: bool = False
    checks: Checks = Checks()
    build: Build = Build()
    model: Model | None = None
    docker: DockerApp = DockerApp()
    gateway: AppGateway = AppGateway()
    ready: Ready = Ready()
    golden: Golden | None = None
    evaluate: Evaluate | None = None
    compare: Compare | None = None
    gate: Annotated[tuple[OwnGate, ...], AfterValidator(names_differ)] = ()
    hook: Annotated[tuple[Hook, ...], AfterValidator(names_differ)] = ()
    record: Record | None = None
    watch: Watch | None = None
    github: AppGithub = AppGithub()
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
        if self.target == "docker" and self.docker.start == "stop-first" and self.watch is not None:
            raise ValueError(
                '[app.watch] keeps the release before running beside the new one, so docker.start must be "first"'
            )
        if self.credentials and self.ssh_key:
            raise ValueError("set either credentials (for https) or ssh_key (for ssh), not both")
        return self

    @model_validator(mode="after")
    def _can_prove_pull_requests(self) -> Self:
        if self.prove_pull_requests and self.branch is None:
            raise ValueError("prove_pull_requests needs branch: a pull request is for a branch")
        if self.prove_pull_requests and self.target == "docker" and self.docker.start != "first":
            raise ValueError('prove_pull_requests needs docker.start = "first": a proof runs beside what serves')
        return self

    @model_validator(mode="after")
    def _can_have_its_canary(self) -> Self:
        if self.gateway.weights and self.target == "docker" and self.docker.start != "first":
            raise ValueError('gateway.weights needs docker.start = "first": two releases serve at the same time')
        if self.gateway.sticky and self.target == "kubernetes":
            raise ValueError('gateway.sticky needs target = "docker": a Service of Kubernetes knows no cookies')
        return self

    @model_validator(mode="after")
    def _has_requests_to_compare(self) -> Self:
        if self.compare is not None and self.compare.requests == "golden" and self.golden is None:
            raise ValueError('compare.requests = "golden" needs a table [app.golden]')
        if self.compare is not None and self.compare.requests == "recorded" and self.record is None:
            raise ValueError('compare.requests = "recorded" needs a table [app.record]: the consent to record requests')
        if self.record is not None and self.target == "kubernetes":
            raise ValueError(
                '[app.record] needs target = "docker": requests on a cluster do not pass deployd\'s gateway'
            )
        return self

    @model_validator(mode="after")
    def _asked_after_the_switch(self) -> Self:
        if self.watch is None and any(gate.when == "after" for gate in self.gate):
            raise ValueError('a gate with when = "after" needs [app.watch], which keeps a release to go back to')
        return self

    @property
    def ref(self) -> str:
        """The full ref that the app follows; for tags a pattern, `refs/tags/v*`."""
        return f"refs/heads/{self.branch}" if self.branch is not None else f"refs/tags/{self.tag}"

    @property
    def webhook_name(self) -> str | None:
        """The name by which webhooks match this app, `github.com/acme/iris`. None for a path without `webhook`: none matches."""
        return self.webhook or repository_name(self.repo)

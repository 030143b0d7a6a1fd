"""`[app.kubernetes]`: where on a cluster an app runs, and its Deployment. The values mean what they mean to Kubernetes."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from deployd.config.values import Count, Duration, EnvName, EnvValue, Inside, Port, Reference, Section

_VOLUME = re.compile(r"(pvc|secret|configmap|empty|memory)(?:/([^/:\s]+))?:(/[^:]*[^:/][^:]*)(:ro)?")
_NAMED = frozenset({"pvc", "secret", "configmap"})

VolumeKind = Literal["pvc", "secret", "configmap", "empty", "memory"]


def volume_parts(text: str) -> tuple[str, str, str, bool]:
    """Kind, name (or the size of an `empty` or `memory` one), path in the container, and whether it is read-only."""
    match = _VOLUME.fullmatch(text)
    if match is None or (match[1] in _NAMED and not match[2]):
        raise ValueError(
            'expected "pvc/NAME:/path", "secret/NAME:/path", "configmap/NAME:/path", "empty:/path" or "memory:/dev/shm", '
            'and perhaps ":ro" behind it'
        )
    return match[1], match[2] or "", match[3], bool(match[4])


def _volume(text: str) -> str:
    volume_parts(text)
    return text


Volume = Annotated[str, AfterValidator(_volume)]


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


class Toleration(Section):
    """One of `[app.kubernetes] tolerations`."""

    key: str | None = None
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    seconds: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError('operator = "Exists" takes no value')
        if self.operator == "Equal" and self.key is None:
            raise ValueError('needs a key, or operator = "Exists" to tolerate every taint')
        return self


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
    env: dict[EnvName, EnvValue] = {}
    env_secrets: dict[EnvName, Reference] = {}
    volumes: tuple[Volume, ...] = ()
    gpus: Count = 0
    node_selector: dict[str, EnvValue] = {}
    tolerations: tuple[Toleration, ...] = ()
    service_account: str | None = None
    patch: Inside | None = None
    service: Service | None = None
    autoscale: Autoscale | None = None
    progress_deadline: Duration = 600.0
    patience: Duration = 12.0
    bake: Duration = 10.0
    allow_root: bool = False
    image_pull_secrets: tuple[str, ...] = ()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        written = ("env_secrets", "volumes", "gpus", "node_selector", "tolerations", "service_account", "patch")
        if not self.create and (unused := [key for key in written if getattr(self, key)]):
            raise ValueError(f"{', '.join(unused)}: with create = false deployd only sets the image of your Deployment")
        return self

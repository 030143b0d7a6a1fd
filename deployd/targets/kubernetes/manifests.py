"""The manifests of an app's Deployment, Service and autoscaler. Pure.

They are sent by server-side apply, so they contain only fields that deployd decides. They leave out `replicas` and the annotation
with the last configured number, since a person or the autoscaler scales between deploys. The pod template has no label or
annotation of a single deploy: with an equal template, Kubernetes scales an old ReplicaSet up again at once.
"""

import math
from dataclasses import dataclass
from typing import Any

from deployd.config.app import App
from deployd.config.kubernetes import KubernetesApp, volume_parts
from deployd.domain import Deploy, Image, labels
from deployd.errors import ConfigError
from deployd.logs.log import printable

Json = dict[str, Any]

MANAGED_BY = {"app.kubernetes.io/managed-by": "deployd"}
DEPLOY = "io.deployd.deploy"
COMMIT = "io.deployd.commit"
MODEL = "io.deployd.model"
IMAGE = "io.deployd.image"
INSTANCE = "io.deployd.instance"
LAST_GOOD = "io.deployd.last-good"
REPLICAS = "io.deployd.replicas"
SCALED = "io.deployd.scaled"
RESTART = "io.deployd.restart"
CHANGE_CAUSE = "kubernetes.io/change-cause"

# A pod that is being deleted serves this much longer, until every proxy knows that it is gone.
LINGER_S = 5
_GRACE_S = LINGER_S + 30
_HTTP = "http"
_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Features:
    """The features that the API server supports: the minor number of its version, and whether it serves autoscaling/v2."""

    minor: int
    autoscaling_v2: bool


def settings_of(app: App) -> KubernetesApp:
    """The table `[app.kubernetes]`, which an app on this target always has."""
    if app.kubernetes is None:
        raise ConfigError(f"app.{app.name}.kubernetes: the table is missing")
    return app.kubernetes


def names(app: App) -> tuple[str, str]:
    """Namespace and name of the app's Deployment."""
    settings = settings_of(app)
    return settings.namespace, settings.deployment or app.name


def path(app: App, kind: str = "deployments", name: str | None = None) -> str:
    """The URL path of one of the app's objects; `kind` is the plural, and may have a subresource after a slash."""
    namespace, deployment = names(app)
    plural, _, below = kind.partition("/")
    group = {"deployments": "/apis/apps/v1", "replicasets": "/apis/apps/v1"}.get(plural, "/api/v1")
    return f"{group}/namespaces/{namespace}/{plural}/{name or deployment}" + (f"/{below}" if below else "")


def collection(app: App, plural: str) -> str:
    """The URL path of a list in the app's namespace."""
    return path(app, plural, "-").removesuffix("/-")


def autoscaler_path(app: App, features: Features) -> str:
    """The URL path of the app's HorizontalPodAutoscaler, in a version that the server supports."""
    namespace, name = names(app)
    version = "v2" if features.autoscaling_v2 else "v1"
    return f"/apis/autoscaling/{version}/namespaces/{namespace}/horizontalpodautoscalers/{name}"


def _change_cause(deploy: Deploy) -> str:
    model = f" with {deploy.registered.short}" if deploy.registered is not None else ""
    return printable(f"deployd {deploy.name}: {deploy.commit[:12]}{model} {deploy.subject}".strip(), 200)


def annotations(deploy: Deploy, image: str, good: str = "") -> dict[str, str]:
    """The annotations of the Deployment (not of the pod template) that describe the deploy.

    `image` is among them: when the template has another image, somebody else set it. `good` is the number and image of the last
    good release, for a deployd that has lost its state.
    """
    return {
        DEPLOY: str(deploy.number),
        COMMIT: deploy.commit,
        IMAGE: image,
        LAST_GOOD: good,
        CHANGE_CAUSE: _change_cause(deploy),
        **({MODEL: deploy.registered.path} if deploy.registered is not None else {}),
    }


def deployment(app: App, deploy: Deploy, template: Json, instance: str, good: str = "") -> Json:
    """The Deployment with `template`; `good` as in `annotations`."""
    settings = settings_of(app)
    manifest = _object("apps/v1", "Deployment", app, instance)
    image = template["spec"]["containers"][0]["image"]
    manifest["metadata"]["annotations"] = annotations(deploy, image, good)
    manifest["spec"] = {
        "selector": {"matchLabels": selector(app)},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": max(1, math.ceil(settings.progress_deadline)),
        # Never fewer pods than wanted: a release that does not start costs no capacity.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "template": template,
    }
    return manifest


def template(app: App, image: Image, instance: str, features: Features, secret: str | None = None) -> Json:
    """The pod template: with probes that hold traffic back, a pre-stop that loses no request, and without root.

    `secret` is the name of the Secret with the values of `env_secrets`.
    """
    settings = settings_of(app)
    container: Json = {
        "name": container_name(app),
        "image": image.reference,
        "ports": [{"name": _HTTP, "containerPort": settings.port, "protocol": "TCP"}],
        "env": _environment(settings, secret),
        "resources": _resources(settings),
        "lifecycle": {"preStop": _linger(features)},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        **_probes(app),
    }
    if settings.allow_root:
        del container["securityContext"]
    pod: Json = {
        "containers": [container],
        "terminationGracePeriodSeconds": _GRACE_S,
        "automountServiceAccountToken": settings.service_account is not None,
        # Otherwise every Service of the namespace sets variables in the pod, such as MODEL_PORT=tcp://… for a Service model.
        "enableServiceLinks": False,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}
        | ({} if settings.allow_root else {"runAsNonRoot": True}),
        **_placement(settings),
    }
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    if settings.volumes:
        container["volumeMounts"], pod["volumes"] = _volumes(settings)
    return {"metadata": {"labels": selector(app) | {INSTANCE: instance} | MANAGED_BY}, "spec": pod}


def port_of(template: Json, container: str, otherwise: int) -> int:
    """The port of the app in a pod or its template, which may be older than the config; `otherwise` where deployd did not write
    it."""
    containers = [item for item in template["spec"]["containers"] if item["name"] == container]
    ports = [port for item in containers for port in item.get("ports", [])]
    return next((int(port["containerPort"]) for port in ports if port.get("name") == _HTTP), otherwise)


def service(app: App, instance: str) -> Json | None:
    """The Service in front of the pods; None when the config has none."""
    settings = settings_of(app)
    if settings.service is None:
        return None
    # By name, so that during a rollout that changes the number, each pod is reached at its own port.
    port: Json = {"name": "http", "port": settings.service.port, "targetPort": _HTTP, "protocol": "TCP"}
    if settings.service.node_port is not None:
        port["nodePort"] = settings.service.node_port
    manifest = _object("v1", "Service", app, instance)
    manifest["spec"] = {"type": settings.service.type, "selector": selector(app), "ports": [port]}
    return manifest


def autoscaler(app: App, instance: str, features: Features) -> Json | None:
    """The HorizontalPodAutoscaler; None when the config has none."""
    settings = settings_of(app)
    if settings.autoscale is None:
        return None
    _, name = names(app)
    wanted = settings.autoscale
    manifest = _object(
        f"autoscaling/{'v2' if features.autoscaling_v2 else 'v1'}", "HorizontalPodAutoscaler", app, instance
    )
    manifest["spec"] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": wanted.min,
        "maxReplicas": wanted.max,
    }
    if features.autoscaling_v2:
        target = {"type": "Utilization", "averageUtilization": wanted.cpu}
        manifest["spec"]["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    else:
        manifest["spec"]["targetCPUUtilizationPercentage"] = wanted.cpu
    return manifest


def selector(app: App) -> dict[str, str]:
    """The labels that select the app's pods. A Deployment's selector is immutable, so nothing in it may ever change."""
    return {"io.deployd.app": app.name}


def container_name(app: App) -> str:
    """The name of the app's container in a Deployment that deployd creates."""
    settings = settings_of(app)
    return settings.container or app.name


def _object(version: str, kind: str, app: App, instance: str) -> Json:
    namespace, name = names(app)
    ours = labels(instance, app.name) | MANAGED_BY | {"app.kubernetes.io/name": app.name}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": ours},
    }


def _environment(settings: KubernetesApp, secret: str | None) -> list[Json]:
    plain: dict[str, Json] = {name: {"value": value} for name, value in settings.env.items()}
    hidden: dict[str, Json] = {
        name: {"valueFrom": {"secretKeyRef": {"name": secret, "key": name}}} for name in settings.env_secrets
    }
    return [{"name": name, **value} for name, value in sorted({**plain, **hidden}.items())]


def _resources(settings: KubernetesApp) -> Json:
    found: Json = settings.resources.model_dump(exclude_defaults=True)
    if settings.gpus:
        found["limits"] = {**found.get("limits", {}), _GPU: str(settings.gpus)}
    return found


def _placement(settings: KubernetesApp) -> Json:
    """Where the pods may run, and as whom they ask the cluster."""
    tolerations = [one.model_dump(exclude_none=True) for one in settings.tolerations]
    for one in tolerations:
        if "seconds" in one:
            one["tolerationSeconds"] = one.pop("seconds")
    wanted = {
        "nodeSelector": dict(settings.node_selector),
        "tolerations": tolerations,
        "serviceAccountName": settings.service_account,
    }
    return {key: value for key, value in wanted.items() if value}


def _volumes(settings: KubernetesApp) -> tuple[list[Json], list[Json]]:
    """The mounts of the container and the volumes of the pod."""
    mounts: list[Json] = []
    volumes: list[Json] = []
    for number, text in enumerate(settings.volumes):
        kind, name, path, read_only = volume_parts(text)
        mounts.append({"name": f"volume-{number}", "mountPath": path, **({"readOnly": True} if read_only else {})})
        limit: Json = {"sizeLimit": name} if name else {}
        sources: Json = {
            "pvc": {"persistentVolumeClaim": {"claimName": name}},
            "secret": {"secret": {"secretName": name}},
            "configmap": {"configMap": {"name": name}},
            "empty": {"emptyDir": limit},
            "memory": {"emptyDir": {"medium": "Memory", **limit}},
        }
        volumes.append({"name": f"volume-{number}", **sources[kind]})
    return mounts, volumes


def _linger(features: Features) -> Json:
    # The sleep action needs no program in the image, but a server of 1.30 or newer.
    if features.minor >= 30:
        return {"sleep": {"seconds": LINGER_S}}
    return {"exec": {"command": ["sleep", str(LINGER_S)]}}


def _probes(app: App) -> Json:
    settings = settings_of(app)
    asked = {"Host": app.ready.host, **app.ready.headers} if app.ready.host else app.ready.headers
    headers: Json = {"httpHeaders": [{"name": name, "value": value} for name, value in asked.items()]} if asked else {}
    get: Json = {"path": app.ready.path, "port": settings.port, **headers}
    ready: Json = {"httpGet": get, "periodSeconds": 1, "timeoutSeconds": 2}
    live: Json = {"tcpSocket": {"port": settings.port}}
    if app.ready.path == "/v2/health/ready":
        live = {"httpGet": get | {"path": "/v2/health/live"}}
    return {
        "startupProbe": ready | {"failureThreshold": max(1, math.ceil(app.ready.within))},
        "readinessProbe": ready | {"failureThreshold": 3},
        # Simple and slow, so that it ends a process that is stuck, not one that is busy.
        "livenessProbe": live | {"periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    }

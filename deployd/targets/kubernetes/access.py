"""The permissions that deployd needs on the API server, and which of them its account lacks."""

from collections.abc import Iterable

from deployd.config.app import App
from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.client import Cluster

# Group, resource (with its subresource), verbs. The Roles in kubernetes/ grant exactly these.
FOR_ANY = (
    ("apps", "deployments", ("get", "list", "watch", "patch")),
    ("apps", "replicasets", ("list", "watch")),
    ("", "pods", ("list", "watch")),
    ("", "events", ("list", "watch")),
    ("", "pods/log", ("get",)),
    ("", "services", ("get",)),
    ("autoscaling", "horizontalpodautoscalers", ("get",)),
)
FOR_CREATED = (
    ("apps", "deployments", ("create", "delete")),
    ("", "services", ("create", "patch", "delete")),
    ("autoscaling", "horizontalpodautoscalers", ("create", "patch", "delete")),
)
# A WebSocket counts as `get`, and from 1.35 on as `create` too.
FOR_COMMANDS = (("", "pods/exec", ("get", "create")),)
FOR_PROOFS = (("", "pods", ("create", "delete")),)
FOR_SECRETS = (("", "secrets", ("create", "delete")),)
_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def missing(cluster: Cluster, app: App) -> list[str]:
    """The permissions that deploys of the app need and the account lacks, in order: `patch deployments`."""
    settings = manifests.settings_of(app)
    wanted = FOR_ANY + (FOR_CREATED if settings.create else ())
    wanted += FOR_SECRETS if settings.env_secrets else ()
    if not cluster.inside:
        wanted += (("", "pods/portforward", ("get", "create")),)
    return await _refused(cluster, settings.namespace, wanted)


async def missing_for_proofs(cluster: Cluster, app: App) -> list[str]:
    """The permissions that `deployd prove` needs besides those, and the account lacks."""
    return await _refused(cluster, manifests.settings_of(app).namespace, FOR_PROOFS)


async def missing_for_commands(cluster: Cluster, app: App) -> list[str]:
    """The permissions for commands in its pods that the account lacks: of `deployd exec`, and of deployd's own questions."""
    return await _refused(cluster, manifests.settings_of(app).namespace, FOR_COMMANDS)


async def _refused(cluster: Cluster, namespace: str, wanted: Iterable[tuple[str, str, tuple[str, ...]]]) -> list[str]:
    return [
        f"{verb} {resource}"
        for group, resource, verbs in wanted
        for verb in verbs
        if not await _may(cluster, namespace, group, resource, verb)
    ]


async def _may(cluster: Cluster, namespace: str, group: str, resource: str, verb: str) -> bool:
    name, _, below = resource.partition("/")
    attributes = {"namespace": namespace, "group": group, "resource": name, "subresource": below, "verb": verb}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await cluster.create(_REVIEW, body)
    return bool(answer.get("status", {}).get("allowed"))

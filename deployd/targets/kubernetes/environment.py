"""The Secret with the values of an app's `env_secrets`. It is ours, and is removed with the app.

Its name holds a hash of its content, so that it never changes: going back to an earlier pod template brings back the values that
it ran with, and changed values make a new template. deployd only creates and deletes Secrets: it need not be able to read or
change one.
"""

import base64
import hashlib
import json
from collections.abc import Iterable

from deployd.config.app import App
from deployd.config.values import read_secret
from deployd.domain import labels
from deployd.ports.log import Log
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.manifests import MANAGED_BY, Json, collection, names, settings_of
from deployd.targets.kubernetes.releases import Place


def secrets_of(app: App) -> dict[str, str]:
    """The values of `[app.kubernetes] env_secrets`. ConfigError when one cannot be read."""
    table = settings_of(app).env_secrets
    return {name: read_secret(ref, f"app.{app.name}.kubernetes.env_secrets.{name}") for name, ref in table.items()}


def secret(app: App, values: dict[str, str], instance: str) -> Json:
    """The Secret that holds `values`."""
    namespace, deployment = names(app)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": f"{deployment}-env-{_hash(app, values)}",
            "namespace": namespace,
            "labels": labels(instance, app.name) | MANAGED_BY,
        },
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in values.items()},
        "immutable": True,
    }


def secret_of(app: App, instance: str, log: Log | None) -> Json | None:
    """The Secret of the app with the present values; None for an app without `env_secrets`."""
    values = secrets_of(app)
    if log is not None:
        for value in values.values():
            log.hide(value)
    return secret(app, values, instance) if values else None


async def write(cluster: Cluster, app: App, manifest: Json) -> None:
    """Create the Secret, unless it is there: the same name is the same content."""
    try:
        await cluster.create(collection(app, "secrets"), manifest)
    except Refused as refused:
        if refused.reason != "AlreadyExists":
            raise


async def remove(cluster: Cluster, place: Place, gone: Iterable[Json | None], kept: Iterable[Json | None]) -> None:
    """Remove the Secrets that only the templates in `gone` name, and none in `kept`."""
    for name in _named(place, gone) - _named(place, kept):
        await cluster.delete(_path(place.namespace, name))


def _named(place: Place, templates: Iterable[Json | None]) -> set[str]:
    """The Secrets of ours that templates name for the environment."""
    containers = [item for template in templates if template for item in template["spec"]["containers"]]
    sources = [entry.get("valueFrom", {}) for item in containers for entry in item.get("env", [])]
    found = {str(source.get("secretKeyRef", {}).get("name", "")) for source in sources}
    return {name for name in found if name.startswith(f"{place.deployment}-env-")}


def _path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def _hash(app: App, values: dict[str, str]) -> str:
    # Whoever may read Deployments sees it: slow to compute, so that the values cannot be guessed from it.
    content = json.dumps([app.name, sorted(values.items())]).encode()
    return hashlib.scrypt(content, salt=b"deployd env_secrets", n=2**14, r=8, p=1, dklen=5).hex()

"""What deployd left in a namespace that belongs to nothing any more: a pod without an owner, a Secret that no template names.

Asked of the API server, so that it is found on any cluster, whatever engine its nodes have.
"""

import json
from typing import Any

from tests.testbed.cluster import Cluster

_OURS = "app.kubernetes.io/managed-by=deployd"


def strays(cluster: Cluster, namespace: str) -> list[str]:
    """Their kinds and names; what is being deleted does not count."""
    ours = [item for kind in ("pods", "secrets") for item in cluster.api.objects(kind, namespace, _OURS)]
    if not ours:
        return []
    owners = json.dumps([cluster.api.objects(kind, namespace) for kind in ("deployments", "replicasets")])
    return [f"{item['kind']} {item['metadata']['name']}" for item in ours if not _belongs(item, owners)]


def _belongs(item: dict[str, Any], owners: str) -> bool:
    meta = item["metadata"]
    named = item["kind"] == "Secret" and f'"{meta["name"]}"' in owners
    return bool(named or meta.get("ownerReferences") or meta.get("deletionTimestamp"))

"""The addresses of NodePort services."""

import httpx

from tests.testbed.cluster import Cluster, until


def address(cluster: Cluster, service: str, namespace: str) -> str:
    """The address at which a service will answer."""
    port = cluster.api.get("services", service, namespace)["spec"]["ports"][0]["nodePort"]
    return f"http://{cluster.node_address()}:{port}"


def answering(cluster: Cluster, service: str, namespace: str) -> str:
    """The same, once it answers. A new port is opened by kube-proxy a moment before connections go on from it: one that came
    between would wait for ever."""
    there = address(cluster, service, namespace)

    def answers() -> bool:
        try:
            httpx.get(there, timeout=1, trust_env=False, verify=False)
        except httpx.TransportError:
            return False
        return True

    until(answers, within=60)
    return there

"""A small blocking client of a cluster's API server, over connections that stay open.

It sees what kubectl sees, without a process for each question. What a person types with kubectl is tested with kubectl.
"""

import json
import ssl
import subprocess
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from deployd.errors import Unavailable

_GROUPS = {
    "deployments": "apis/apps/v1",
    "replicasets": "apis/apps/v1",
    "horizontalpodautoscalers": "apis/autoscaling/v1",
}
_CREDENTIALS = {"token", "client-certificate-data", "client-key-data"}
_ADDRESS = {"server", "certificate-authority-data", "insecure-skip-tls-verify", "extensions"}

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


class ClusterApi:
    """Requests with the credentials of kubectl's current context; several threads may share it. Kinds are plurals: `pods`."""

    def __init__(self, kubectl: Kubectl) -> None:
        said = kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json").stdout
        kubeconfig = json.loads(said)
        self._http = _http(kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"], kubectl)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        """One object; Unavailable when there is none."""
        return self._asked("GET", _path(kind, name, namespace))

    def exists(self, kind: str, name: str, namespace: str = "") -> bool:
        """Whether there is such an object."""
        return self._answer("GET", _path(kind, name, namespace)).status_code != 404

    def objects(self, kind: str, namespace: str = "", selector: str = "") -> list[dict[str, Any]]:
        """All objects of a kind that have these labels; each says its kind, as kubectl has it."""
        found = self._asked("GET", _path(kind, "", namespace), params={"labelSelector": selector} if selector else {})
        return [{"kind": found["kind"].removesuffix("List"), **item} for item in found["items"]]

    def names(self, kind: str, namespace: str = "", selector: str = "") -> list[str]:
        """The names of these objects."""
        return [item["metadata"]["name"] for item in self.objects(kind, namespace, selector)]

    def create(self, kind: str, body: Mapping[str, Any], namespace: str = "") -> None:
        """Create an object."""
        self._asked("POST", _path(kind, "", namespace), json=body)

    def delete(self, kind: str, name: str = "", namespace: str = "", *, at_once: bool = False) -> None:
        """Delete an object, or without a name all of a kind, and in the background what they own. `at_once` gives no grace."""
        options = {"propagationPolicy": "Background"} | ({"gracePeriodSeconds": "0"} if at_once else {})
        self._asked("DELETE", _path(kind, name, namespace), params=options)

    def _asked(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._answer(method, path, **more).json()
        if found.get("kind") == "Status" and found.get("status") == "Failure":
            raise Unavailable(f"{method} {path}: {found['message']}")
        return found

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **more)
        except httpx.TransportError as exc:
            raise Unavailable(f"the API server does not answer: {exc}") from exc
        if answer.status_code >= 400 and answer.status_code != 404:
            raise Unavailable(f"{method} {path}: the API server answers {answer.status_code}: {answer.text[:500]}")
        return answer


class _ByKubectl(httpx.BaseTransport):
    """Lets kubectl send the requests, where only it can: with credentials from a plugin, or through a proxy."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        verb = {"GET": ["get"], "POST": ["create", "--filename=-"], "DELETE": ["delete"]}[request.method]
        done = self._kubectl(*verb, f"--raw={request.url.raw_path.decode()}", given=request.read().decode() or None)
        if done.returncode == 0:
            return httpx.Response(200, text=done.stdout)
        failure = {"kind": "Status", "status": "Failure", "message": done.stderr.strip()}
        return httpx.Response(404 if "(NotFound)" in done.stderr else 500, json=failure)


def _path(kind: str, name: str, namespace: str) -> str:
    inside = f"namespaces/{namespace}/" if namespace else ""
    return f"/{_GROUPS.get(kind, 'api/v1')}/{inside}{kind}{name and f'/{name}'}"


def _http(cluster: Mapping[str, Any], user: Mapping[str, Any], kubectl: Kubectl) -> httpx.Client:
    if not user or not user.keys() <= _CREDENTIALS or not cluster.keys() <= _ADDRESS:
        return httpx.Client(base_url=cluster["server"], transport=_ByKubectl(kubectl))
    trust = (
        b64decode(cluster["certificate-authority-data"]).decode() if "certificate-authority-data" in cluster else None
    )
    context = ssl.create_default_context(cadata=trust)
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if "client-certificate-data" in user:
        with TemporaryDirectory() as place:  # the library takes a certificate only from a file
            pair = Path(place, "pair.pem")
            pair.touch(mode=0o600)
            pair.write_bytes(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
            context.load_cert_chain(pair)
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    return httpx.Client(base_url=cluster["server"], verify=context, headers=headers, trust_env=False, timeout=60)

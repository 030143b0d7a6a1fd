"""A real Kubernetes cluster for tests: the user's (DEPLOYD_TEST_KUBECONFIG), or our own with one node on this machine's engine.

Ours keeps running after a test run; `python -m tests.testbed stop` ends it. Every test uses its own namespace.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_network
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import quote

from deployd.bringup import engine as engines
from deployd.bringup.cache import directory, locked
from deployd.bringup.packages import can_install, ensure_packages
from deployd.bringup.progress import Progress
from deployd.errors import Unavailable
from tests.testbed import images, kubernetes_binaries
from tests.testbed.cluster_api import ClusterApi
from tests.testbed.kubernetes_parts import Ground, write
from tests.testbed.parts import Parts
from tests.testbed.programs import program

_TOOLS = ("conntrack", "ebtables", "ethtool", "iptables", "openssl", "socat")
_READY_WITHIN_S = 60


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers. `parts` are the processes of ours; None for the user's own, which no test may stop."""

    kubeconfig: Path
    client: Path
    parts: Parts | None

    def kubectl(self, *arguments: str, given: str | None = None, timeout: float = 120) -> str:
        """The output of kubectl, with `given` as its standard input; Unavailable with its error output when it fails."""
        done = self.try_kubectl(*arguments, given=given, timeout=timeout)
        if done.returncode:
            raise Unavailable(f"kubectl {' '.join(arguments)} failed", hint=(done.stderr or done.stdout).strip())
        return done.stdout

    def try_kubectl(
        self, *arguments: str, given: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, whether or not it fails."""
        command = [str(self.client), f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=timeout)

    @cached_property
    def api(self) -> ClusterApi:
        """What tells and changes in an instant what kubectl starts a process for."""
        return ClusterApi(self.try_kubectl)

    def close(self) -> None:
        """End the connections to the API server."""
        if "api" in vars(self):
            self.api.close()

    def node_address(self) -> str:
        """The address at which NodePorts answer."""
        addresses = self.api.objects("nodes")[0]["status"]["addresses"]
        return str(next(entry["address"] for entry in addresses if entry["type"] == "InternalIP"))

    @property
    def is_here(self) -> bool:
        """Whether its only node is this machine, so that pods can reach what a test lends them on loopback and in files."""
        return len(self.api.objects("nodes")) == 1 and is_this_machine(self.node_address())

    @contextmanager
    def namespace(self) -> Iterator[str]:
        """A namespace, which is deleted after the block; its default service account exists."""
        name = f"deployd-test-{uuid.uuid4().hex[:10]}"
        self.api.create("namespaces", {"metadata": {"name": name}})
        try:
            until(lambda: self.api.exists("serviceaccounts", "default", name), 120)
            yield name
        finally:
            self.api.delete("namespaces", name)

    def clear(self, namespace: str) -> None:
        """Forget every pod of the namespace at once. The kubelet starts none of their containers again: they can be removed."""
        for kind in ("deployments", "replicasets"):
            self.api.delete(kind, namespace=namespace)
        self.api.delete("pods", namespace=namespace, at_once=True)


def available() -> bool:
    """Whether `cluster` needs no build, which takes minutes."""
    return bool(os.environ.get("DEPLOYD_TEST_KUBECONFIG")) or kubernetes_binaries.built() is not None


def runs() -> bool:
    """Whether our cluster runs, and answers."""
    return _answers(Parts(_state()))


def cluster(progress: Progress) -> Cluster:
    """A cluster that answers: the user's, ours that runs, or ours started (built first, when this machine never did).

    Raises Unavailable with what is missing where there can be none.
    """
    client = program("kubectl", "kubernetes-client")
    if own := os.environ.get("DEPLOYD_TEST_KUBECONFIG"):
        found = Cluster(Path(own), client, None)
        found.kubectl("get", "--raw=/version", timeout=20)
        if "DEPLOYD_TEST_REGISTRY" not in os.environ and not found.is_here:
            hint = "name one in DEPLOYD_TEST_REGISTRY to which this machine may push and from which they pull"
            raise Unavailable("the nodes of the cluster cannot reach a registry on this machine's loopback", hint=hint)
        return found
    if not can_install():
        hint = "set DEPLOYD_TEST_KUBECONFIG (kind, minikube, k3s), or run this as root on Debian"
        raise Unavailable("no Kubernetes cluster is named", hint=hint)
    engine = engines.ensure(progress)
    images.ensure(engine, progress)
    ensure_packages(*_TOOLS, progress=progress)
    binaries = kubernetes_binaries.ensure(progress)
    parts = Parts(_state())
    with locked("cluster"):
        if not _answers(parts) and not _revived(parts, progress):
            _stop(parts)
            _start(parts, engine, binaries, progress)
    return Cluster(_state() / "kubeconfig", client, parts)


def stop() -> bool:
    """End our cluster and remove what it left on the engine and the host; False when there was none."""
    parts = Parts(_state())
    with locked("cluster"):
        there = bool(parts.names())
        _stop(parts)
    return there


def until(holds: Callable[[], bool], within: float) -> None:
    """Wait until `holds()`; raises TimeoutError after `within` seconds."""
    deadline = monotonic() + within
    while not holds():
        if monotonic() > deadline:
            raise TimeoutError(f"not so within {within} s")
        sleep(0.1)


def is_this_machine(address: str) -> bool:
    """Whether it is an address of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _state() -> Path:
    return directory() / "cluster"


def _answers(parts: Parts) -> bool:
    names = parts.names()
    return bool(names) and all(parts.runs(name) for name in names) and _api(parts.state, "/readyz") == b"ok"


def _revived(parts: Parts, progress: Progress) -> bool:
    """Start only the parts that have ended: another test run may use the rest, and may itself have stopped a part."""
    ended = [name for name in parts.names() if not parts.runs(name)]
    if len(ended) == len(parts.names()):
        return False
    with progress.step(f"bringing back {', '.join(ended) or 'the API server'}"):
        for name in ended:
            parts.start(name)
        try:
            _wait(parts, lambda: _answers(parts))
        except Unavailable:
            return False
    return True


def _start(parts: Parts, engine: engines.Engine, binaries: Path, progress: Progress) -> None:
    parts.state.mkdir(mode=0o700)
    etcd = program("etcd", "etcd-server")
    with progress.step(f"starting Kubernetes {kubernetes_binaries.VERSION}"):
        parts.remember(write(Ground(parts.state, binaries, etcd, engine.url, _bridge(engine), _resolvers())))
        for name in parts.names():
            parts.start(name)
            if name == "kube-apiserver":
                _wait(parts, lambda: _api(parts.state, "/readyz") == b"ok")
        _wait(parts, lambda: _node_is_ready(parts.state))


def _wait(parts: Parts, holds: Callable[[], bool]) -> None:
    """Wait for a state of the cluster; Unavailable when one of its parts ends."""

    def holds_or_broken() -> bool:
        return holds() or bool(_ended(parts))

    try:
        until(holds_or_broken, _READY_WITHIN_S)
    except TimeoutError as exc:
        raise Unavailable("the cluster does not get ready", hint=f"see the logs in {parts.state}") from exc
    for name in _ended(parts):
        tail = parts.log(name).read_text(errors="replace")[-2000:]
        raise Unavailable(f"{name} has ended", hint=tail)


def _ended(parts: Parts) -> list[str]:
    return [name for name in parts.names() if (parts.state / f"{name}.pid").exists() and not parts.runs(name)]


def _stop(parts: Parts) -> None:
    for name in reversed(parts.names()):
        parts.stop(name)
    if not parts.state.exists():
        return
    _remove_pods()
    _unmount(parts.state)
    kubernetes = kubernetes_binaries.built()
    if kubernetes is not None:
        subprocess.run([kubernetes / "kube-proxy", "--cleanup"], capture_output=True, check=False)
    shutil.rmtree(parts.state)


def _remove_pods() -> None:
    """Remove the containers of all pods: the label does not tell the cluster, but ours is the only one on this engine."""
    engine = engines.find()
    if engine is None:
        return
    filters = quote(json.dumps({"label": ["io.kubernetes.pod.uid"]}))
    for container in engine.api().get(f"/containers/json?all=1&filters={filters}"):
        engine.api().delete(f"/containers/{container['Id']}?force=1&v=1")


def _unmount(state: Path) -> None:
    """Unmount secrets and tokens below the kubelet's directory, so that its removal does not delete their contents."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(places):
        if place.startswith(f"{state}/"):
            subprocess.run(["umount", "--lazy", place], check=True)


def _bridge(engine: engines.Engine) -> str:
    """The address of docker0, at which pods reach the host."""
    addresses = engine.api().get("/networks/bridge")["IPAM"]["Config"][0]
    return str(addresses.get("Gateway") or ip_network(addresses["Subnet"])[1])


def _resolvers() -> list[str]:
    """The host's name servers, for the pods too: there is no cluster DNS."""
    lines = Path("/etc/resolv.conf").read_text().splitlines()
    found = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    return [address for address in found if not address.startswith("127.")] or ["192.0.2.1"]


def _node_is_ready(state: Path) -> bool:
    nodes = json.loads(_api(state, "/api/v1/nodes") or b"{}").get("items", [])
    conditions = [entry for node in nodes for entry in node["status"].get("conditions", [])]
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _api(state: Path, path: str) -> bytes:
    """The API server's answer to the admin; empty while it does not answer."""
    try:
        kubeconfig = json.loads((state / "kubeconfig").read_text())
        request = urllib.request.Request(kubeconfig["clusters"][0]["cluster"]["server"] + path)  # noqa: S310 - ours, https
        request.add_header("Authorization", f"Bearer {kubeconfig['users'][0]['user']['token']}")
        trusted = ssl.create_default_context(cafile=str(state / "pki/ca.crt"))
        with urllib.request.urlopen(request, timeout=5, context=trusted) as response:  # noqa: S310
            body: bytes = response.read()
            return body
    except OSError:
        return b""

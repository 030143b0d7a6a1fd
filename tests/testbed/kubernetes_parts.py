"""The command lines, credentials and settings of the test cluster's parts, all below one state directory.

Only writes those files. There is one node, whose pods get docker0 addresses; everything listens on docker0 or loopback.
"""

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployd.bringup.ports import free_port
from tests.testbed import certificates
from tests.testbed.images import PAUSE

NODE = "deployd-testbed"
_SERVICES = "10.96.0.0/16"
_API_SERVICE = "10.96.0.1"
_API_NAMES = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
_ISSUER = "https://kubernetes.default.svc.cluster.local"

# The user and group of each part, for which Kubernetes has default roles.
_USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "kube-proxy": ("system:kube-proxy", ""),
}


@dataclass(frozen=True, slots=True)
class Ground:
    """What the cluster needs: its state directory, the programs, the engine, docker0's address, the host's resolvers."""

    state: Path
    binaries: Path
    etcd: Path
    engine_url: str
    address: str
    resolvers: list[str]


def write(ground: Ground) -> dict[str, list[str]]:
    """Write every file the parts need and return their command lines, in the order in which they start.

    Also leaves `kubeconfig` (admin) in the state directory.
    """
    pki = ground.state / "pki"
    pki.mkdir(parents=True)
    certificates.make(pki, [ground.address, _API_SERVICE, "127.0.0.1"], _API_NAMES)
    tokens = {name: secrets.token_hex(16) for name in _USERS}
    api_port, etcd_port, peer_port, kubelet_port, health_port = (free_port() for _ in range(5))
    server = f"https://{ground.address}:{api_port}"
    (pki / "tokens.csv").write_text("".join(_token_line(name, token) for name, token in tokens.items()))
    for name, token in tokens.items():
        path = ground.state / ("kubeconfig" if name == "admin" else f"{name}.kubeconfig")
        path.write_text(json.dumps(_kubeconfig(server, pki, name, token), indent=1))
        path.chmod(0o600)
    (ground.state / "kubelet.json").write_text(json.dumps(_kubelet(ground, kubelet_port, health_port), indent=1))
    return {
        "etcd": _etcd(ground, etcd_port, peer_port),
        "kube-apiserver": _apiserver(ground, pki, api_port, etcd_port),
        "kube-controller-manager": _controller_manager(ground, pki),
        "kube-scheduler": _program(ground, "kube-scheduler", "--leader-elect=false", "--port=0", "--secure-port=0"),
        "kubelet": _kubelet_command(ground),
        "kube-proxy": _proxy(ground),
    }


def _token_line(name: str, token: str) -> str:
    user, group = _USERS[name]
    return f'{token},{user},{name},"{group}"\n' if group else f"{token},{user},{name}\n"


def _kubeconfig(server: str, pki: Path, name: str, token: str) -> dict[str, Any]:
    authority = base64.b64encode((pki / "ca.crt").read_bytes()).decode()
    context = {"cluster": NODE, "user": name}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NODE, "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": NODE, "context": context}],
        "current-context": NODE,
    }


def _program(ground: Ground, name: str, *options: str) -> list[str]:
    credentials = [] if name == "kube-apiserver" else [f"--kubeconfig={ground.state / f'{name}.kubeconfig'}"]
    return [str(ground.binaries / name), *credentials, *options]


def _etcd(ground: Ground, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        str(ground.etcd),
        f"--data-dir={ground.state / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    ]


def _apiserver(ground: Ground, pki: Path, port: int, etcd_port: int) -> list[str]:
    return _program(
        ground,
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--bind-address={ground.address}",
        f"--advertise-address={ground.address}",
        f"--secure-port={port}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--token-auth-file={pki / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        f"--service-account-issuer={_ISSUER}",
        f"--service-account-key-file={pki / 'tokens.key'}",
        f"--service-account-signing-key-file={pki / 'tokens.key'}",
        f"--service-cluster-ip-range={_SERVICES}",
        "--allow-privileged",
        f"--kubelet-client-certificate={pki / 'client.crt'}",
        f"--kubelet-client-key={pki / 'client.key'}",
        # By default `logs` and `exec` would use the node's name, which does not resolve.
        "--kubelet-preferred-address-types=InternalIP",
    )


def _controller_manager(ground: Ground, pki: Path) -> list[str]:
    return _program(
        ground,
        "kube-controller-manager",
        f"--service-account-private-key-file={pki / 'tokens.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        # Tests stop the API server for half a minute, which must not mark the node as lost.
        "--node-monitor-grace-period=2m",
        "--port=0",
        "--secure-port=0",
    )


def _kubelet(ground: Ground, port: int, health_port: int) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ground.address,
        "port": port,
        "healthzPort": health_port,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(ground.state / "pki/ca.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": ground.resolvers,
        "clusterDomain": "cluster.local",
        "enforceNodeAllocatable": [],
        "evictionHard": {},
        "failSwapOn": False,
        "serializeImagePulls": False,
        # So that the kubelet does not remove other images of the engine.
        "imageGCHighThresholdPercent": 100,
        # At each update it asks the engine for its version three times, and the engine starts two programs for each answer.
        "nodeStatusUpdateFrequency": "10s",
        "volumePluginDir": str(ground.state / "volume-plugins"),
    }


def _kubelet_command(ground: Ground) -> list[str]:
    return _program(
        ground,
        "kubelet",
        f"--config={ground.state / 'kubelet.json'}",
        "--container-runtime=docker",
        f"--docker-endpoint={ground.engine_url}",
        "--network-plugin=",
        f"--pod-infra-container-image={PAUSE}",
        f"--node-ip={ground.address}",
        f"--hostname-override={NODE}",
        f"--root-dir={ground.state / 'kubelet'}",
        f"--cert-dir={ground.state / 'kubelet-pki'}",
    )


def _proxy(ground: Ground) -> list[str]:
    return _program(
        ground,
        "kube-proxy",
        "--proxy-mode=iptables",
        f"--hostname-override={NODE}",
        # Client and endpoint may be on the same bridge; the answer would then bypass the address translation.
        "--masquerade-all",
        "--healthz-bind-address=",
        "--metrics-bind-address=",
        # Leave the host's connection tracking unchanged.
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0s",
        "--conntrack-tcp-timeout-close-wait=0s",
    )

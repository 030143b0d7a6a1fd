"""deployd as a pod of the cluster that it deploys to: the image of Dockerfile.deployd, the base and the account of kubernetes/.

What the testbed lacks is lent: a registry and a git remote on the node, and this machine's engine in place of a BuildKit. So the
cluster's node has to be this machine, but it may pull with an engine of its own.
"""

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import remove
from deployd.bringup.ports import free_port
from deployd.bringup.repository import Repository, deliver
from deployd.client import Client
from deployd.status import Status
from tests.e2e.world import APP, DOCKERFILE
from tests.testbed import node_ports
from tests.testbed.cluster import Cluster
from tests.testbed.registry import Registry, pushed
from tests.typed import changed, under

# Builds the image of which tests/e2e/test_image.py builds and removes one: not both at once.
pytestmark = [
    pytest.mark.engine,
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("the image of deployd"),
]

ROOT = Path(__file__).parents[2]
IMAGE = "deployd-testbed/deployd:in-cluster"
SECRET = "a secret of the forge"
TOKEN = "a token"
USER = 10001
CONFIG = """\
[server]
host = "0.0.0.0"
port = {port}
instance = "{instance}"
[auth]
tokens = [{{ name = "test", role = "admin", sha256 = "{digest}" }}]
[github]
secrets = ["credential:webhook-secret"]
[git]
allow_file = true
poll_every = "1h"
[registry]
url = "{registry}"
insecure = true
[[app]]
name = "iris"
repo = "file://{remote}"
webhook = "github.com/acme/iris"
branch = "main"
target = "kubernetes"
[app.ready]
path = "/"
within = "30s"
commit_path = "/"
[app.kubernetes]
namespace = "{namespace}"
replicas = 2
bake = "1s"
service = {{ type = "NodePort", port = 80 }}
"""


@pytest.fixture(scope="module")
def image(base_images: Engine, cluster: Cluster, registry: Registry) -> str:
    """deployd's image, built from this checkout, by a name from which the cluster's node has it."""
    if not cluster.is_here:
        pytest.skip("the node of the cluster is not this machine, which lends the engine, the registry and the remote")
    command = ["docker", "build", "--quiet", "--file", str(ROOT / "Dockerfile.deployd"), "--tag", IMAGE, str(ROOT)]
    environment = {**os.environ, "DOCKER_HOST": base_images.url}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return IMAGE if cluster.parts is not None else pushed(base_images, registry, IMAGE)


@pytest.fixture
async def api(
    image: str,
    cluster: Cluster,
    namespace: str,
    instance: str,
    base_images: Engine,
    registry: Registry,
    repository: Repository,
    tmp_path: Path,
) -> AsyncIterator[str]:
    """The address of a deployd that runs in the test's namespace."""
    port = free_port()
    config = CONFIG.format(
        port=port,
        instance=instance,
        registry=registry.address,
        remote=repository.remote,
        namespace=namespace,
        digest=hashlib.sha256(TOKEN.encode()).hexdigest(),
    )
    manifests = rendered(cluster, namespace, config, tmp_path)
    lend(daemon_of(manifests), image, port, base_images, repository)
    here = f"--namespace={namespace}"
    *_, logs = under("kubernetes/README.md", "deployd inside a cluster")
    logs = changed(logs, {"-n deployd": f"-n {namespace}", "logs -f": "logs --tail=100"})  # -f would not end
    cluster.kubectl(
        "create", "secret", "generic", "deployd-credentials", f"--from-literal=webhook-secret={SECRET}", here
    )
    cluster.kubectl("apply", "--filename=-", given=json.dumps(manifests))
    try:
        await asyncio.to_thread(cluster.kubectl, "rollout", "status", "deployment/deployd", "--timeout=90s", here)
        cluster.kubectl(*logs.split()[1:])
        yield f"http://127.0.0.1:{port}"
    finally:
        print(cluster.try_kubectl(*logs.split()[1:]).stdout)
        print(cluster.try_kubectl("describe", "pods", "--selector=app.kubernetes.io/name=deployd", here).stdout)
        # First the daemon, with its pod: while it runs it would find the head and deploy it again.
        gone = ("delete", "deployment", "deployd", "--cascade=foreground", "--ignore-not-found", "--timeout=90s", here)
        cluster.kubectl(*gone)
        cluster.clear(namespace)
        remove(base_images.api(), instance, within=60)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A remote with one commit of the tiny app that the daemon's user can read."""
    made = Repository(tmp_path)
    made.create()
    return made


async def test_a_push_is_rolled_out_by_a_daemon_in_the_cluster(
    api: str, repository: Repository, cluster: Cluster, namespace: str
) -> None:
    repository.write("app.py", APP)
    repository.write("Dockerfile", DOCKERFILE + "USER 65534\n")
    payload = repository.push("Serve")
    own(repository.remote)
    answer = await deliver(api, SECRET, payload)
    assert answer.status_code == 202, answer.text
    async with Client(api, TOKEN) as client:
        async with asyncio.timeout(180):
            await client.answered(answer.json()["delivery"])
            async for deploy in client.follow("iris", 1):
                assert deploy.number == 1
        last = await client.show("iris", 1)
        log = b"".join([block async for block in client.log("iris", 1)]).decode()
        assert last.status is Status.LIVE, f"{last.reason}\n{log}"
        ready = await client.ready()
        assert ready["cluster"] == "ok"
        assert "engine" not in ready
        assert [said async for said in client.execute("iris", ["true"])][-1] == 0
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:
        assert (await http.get(node_ports.answering(cluster, "iris", namespace))).text == repository.head


def rendered(cluster: Cluster, namespace: str, config: str, directory: Path) -> dict[str, Any]:
    """The base with the test's namespace and config, as one JSON list."""
    base = shutil.copytree(ROOT / "kubernetes", directory / "base")
    settings = base / "kustomization.yaml"
    settings.write_text(settings.read_text().replace("namespace: deployd", f"namespace: {namespace}"))
    (base / "config.toml").write_text(config)
    text = cluster.kubectl("kustomize", str(base))
    said = cluster.kubectl("apply", "--dry-run=client", "--output=json", "--filename=-", given=text)
    found: dict[str, Any] = json.loads(said)
    return found


def daemon_of(manifests: dict[str, Any]) -> dict[str, Any]:
    """The pod's spec of deployd's Deployment."""
    spec: dict[str, Any] = next(item for item in manifests["items"] if item["kind"] == "Deployment")["spec"]
    pod: dict[str, Any] = spec["template"]["spec"]
    return pod


def lend(pod: dict[str, Any], image: str, port: int, engine: Engine, repository: Repository) -> None:
    """What replaces volumes, BuildKit and cluster DNS, which the test bed does not have."""
    socket = urlsplit(engine.url).path
    container = pod["containers"][0]
    container |= {"image": image, "imagePullPolicy": "IfNotPresent"}
    container["ports"][0]["containerPort"] = port
    container["env"].append({"name": "DOCKER_HOST", "value": engine.url})
    container["volumeMounts"] += [
        {"name": "engine", "mountPath": socket},
        {"name": "remote", "mountPath": str(repository.remote), "readOnly": True},
    ]
    pod["hostNetwork"] = True
    pod["securityContext"]["supplementalGroups"] = [Path(socket).stat().st_gid]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    volumes["state"] = {"name": "state", "emptyDir": {}}
    volumes["engine"] = {"name": "engine", "hostPath": {"path": socket}}
    volumes["remote"] = {"name": "remote", "hostPath": {"path": str(repository.remote)}}
    pod["volumes"] = list(volumes.values())


def own(directory: Path) -> None:
    """git serves a local repository only to its owner."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, USER, USER)

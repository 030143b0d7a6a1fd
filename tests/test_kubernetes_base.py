"""The kustomize base in kubernetes/: it renders, it says what the code needs, and its account can do that and no more."""

import asyncio
import base64
import json
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployd.bringup.engine import Engine
from deployd.config.file import load
from deployd.targets.kubernetes import access, adoption
from deployd.targets.kubernetes.candidate import forwarded
from deployd.targets.kubernetes.client import Cluster as Client
from deployd.targets.kubernetes.target import KubernetesTarget
from tests.targets.kubernetes.world import PORT, World, a_config, forget_dead_registries
from tests.testbed.cluster import Cluster
from tests.testbed.registry import Registry
from tests.typed import changed, under

BASE = Path(__file__).parent.parent / "kubernetes"


def test_the_config_of_the_base_is_valid() -> None:
    config = load(BASE / "config.toml")
    assert config.builder.kind == "buildkit"
    assert [app.target for app in config.app] == ["kubernetes"]
    assert config.app[0].kubernetes is not None
    assert config.app[0].kubernetes.kubeconfig is None


def test_every_file_of_the_base_is_rendered() -> None:
    named = (BASE / "kustomization.yaml").read_text()
    assert [
        path.name for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml" and path.name not in named
    ] == []


@pytest.mark.parametrize(
    ("file", "used"),
    [
        ("role.yaml", access.FOR_ANY + access.FOR_CREATED + access.FOR_PROOFS),
        ("role-exec.yaml", access.FOR_COMMANDS),
        ("role-secrets.yaml", access.FOR_SECRETS),
    ],
)
def test_a_role_grants_exactly_what_the_code_uses(
    file: str, used: tuple[tuple[str, str, tuple[str, ...]], ...]
) -> None:
    role = next(yaml.safe_load_all((BASE / file).read_text()))
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    asked = {(group, resource, verb) for group, resource, verbs in used for verb in verbs}
    assert granted == asked


def test_the_example_deployment_causes_no_warnings() -> None:
    deployment = yaml.safe_load((BASE / "iris" / "deployment.yaml").read_text())
    assert adoption.warnings(deployment, adoption.pick_container(deployment, None)) == []


@pytest.mark.cluster
def test_a_cluster_accepts_the_manifests_of_the_model_service(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    base = shutil.copytree(BASE / "iris", tmp_path / "iris")
    settings = base / "kustomization.yaml"
    settings.write_text(settings.read_text().replace("namespace: models", f"namespace: {namespace}"))
    cluster.kubectl("apply", "--dry-run=server", "--kustomize", str(base))


def test_no_rule_reads_secrets_or_has_a_wildcard() -> None:
    for path in BASE.glob("role*.yaml"):
        manifests = list(yaml.safe_load_all(path.read_text()))
        for rule in (rule for manifest in manifests for rule in manifest.get("rules", [])):
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}, path.name
            # An answer to a patch shows the whole object.
            assert "secrets" not in rule["resources"] or {*rule["verbs"]} == {"create", "delete"}, path.name


@pytest.fixture
async def world(
    cluster: Cluster,
    namespace: str,
    base_images: Engine,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    """The base's account in a namespace of its own, and a target that acts as it."""
    monkeypatch.setenv("DOCKER_HOST", base_images.url)
    forget_dead_registries(base_images)
    monkeypatch.chdir(tmp_path)
    install(cluster, namespace, tmp_path)
    async with KubernetesTarget(a_config(registry, tmp_path), tmp_path / "kubernetes") as target:
        kubeconfig = as_account(cluster, namespace, tmp_path)
        yield World(cluster, base_images, registry, namespace, tmp_path, target, kubeconfig=kubeconfig)


def install(cluster: Cluster, namespace: str, directory: Path) -> None:
    """Do as the README of the base says, in the test's namespace; its daemon has no image there and stays away."""
    base = shutil.copytree(BASE, directory / "kubernetes")
    settings = base / "kustomization.yaml"
    settings.write_text(settings.read_text().replace("namespace: deployd", f"namespace: {namespace}"))
    for secret in ("webhook-secret", "registry-password"):
        (directory / secret).write_text("a secret")
    _build, _push, create, keep, apply, _logs = under("kubernetes/README.md", "deployd inside a cluster")
    typed(cluster, changed(create, {"namespace deployd": f"namespace {namespace}-2 --dry-run=server"}))
    typed(cluster, changed(keep, {"-n deployd": f"-n {namespace}"}))
    typed(cluster, apply)


def typed(cluster: Cluster, line: str) -> None:
    """Run a line that starts kubectl."""
    kubectl, *words = shlex.split(line)
    assert kubectl == "kubectl"
    cluster.kubectl(*words)


def as_account(cluster: Cluster, namespace: str, directory: Path) -> Path:
    """A kubeconfig that holds nothing but the token of the base's account."""
    said = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--output=json"))
    account = cluster.api.get("serviceaccounts", "deployd", namespace)
    if account.get("secrets"):
        secret = cluster.api.get("secrets", account["secrets"][0]["name"], namespace)
        token = base64.b64decode(secret["data"]["token"]).decode()
    else:
        token = cluster.kubectl("create", "token", "deployd", f"--namespace={namespace}").strip()
    said["users"] = [{"name": said["contexts"][0]["context"]["user"], "user": {"token": token}}]
    path = directory / "account-kubeconfig"
    path.write_text(json.dumps(said))
    return path


@pytest.mark.cluster
@pytest.mark.timeout(300)
async def test_the_account_can_do_all_that_a_target_does(world: World) -> None:
    # Seen from outside, the gates would go through the API server; inside, the account needs no port-forward.
    assert await world.target.missing(world.app()) == ["get pods/portforward", "create pods/portforward"]
    app = world.app(service={"type": "NodePort", "port": 80}, autoscale={"min": 1, "max": 2, "cpu": 80})
    await world.roll_out(app, 1, world.image("one"))
    app = world.app(service={"type": "ClusterIP", "port": 80})
    await world.roll_out(app, 2, world.image("two"))
    assert await world.target.serving(app) == 2
    await world.target.scale(app, 2)
    described: Any = await world.target.describe(app)
    assert described["autoscaler"] is None
    assert [line async for line in world.target.output(app, follow=False, tail=1)] == []

    async def ignore(_: bytes) -> None:
        return

    assert await world.target.execute(app, ["true"], ignore) == 0
    assert await world.target.ping() == {"cluster": "ok"}
    await world.target.remove("iris")


@pytest.mark.cluster
async def test_from_outside_the_account_reaches_pods_with_the_two_verbs_that_the_readme_names(world: World) -> None:
    here = f"--namespace={world.namespace}"
    verbs = ("--verb=get", "--verb=create", "--resource=pods/portforward")
    world.cluster.kubectl("create", "role", "forward", *verbs, here)
    account = f"--serviceaccount={world.namespace}:deployd"
    world.cluster.kubectl("create", "rolebinding", "forward", "--role=forward", account, here)
    assert await world.target.missing(world.app()) == []
    await world.roll_out(world.app(), 1, world.image("one"))
    pods = world.cluster.api.objects("pods", world.namespace, "io.deployd.app=iris")
    async with (
        Client(str(world.kubeconfig)) as api,
        forwarded(api, pods[0], PORT) as port,
        httpx.AsyncClient(verify=False) as http,
    ):
        assert (await http.get(f"http://127.0.0.1:{port}/")).text == "one"


FORBIDDEN = [
    "get secrets",
    "list secrets",
    "patch pods",  # it creates and deletes them, for proofs
    "create pods --namespace=default",
    "delete pods --namespace=default",
    "update deployments",
    "get pods --subresource=portforward",
    "create pods --subresource=portforward",
    "create rolebindings",
    "create serviceaccounts --subresource=token",
    "get configmaps",
    "list nodes",
    "list deployments --all-namespaces",
    "create deployments --namespace=default",
]


@pytest.mark.cluster
async def test_the_account_can_do_nothing_else_until_the_role_is_bound_in_another_namespace(world: World) -> None:
    for question in FORBIDDEN:
        where = () if "namespace" in question else (f"--namespace={world.namespace}",)
        command = [
            str(world.cluster.client),
            f"--kubeconfig={world.kubeconfig}",
            "auth",
            "can-i",
            *question.split(),
            *where,
        ]
        answer = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert answer.stdout.strip() == "no", question
    with world.cluster.namespace() as models:
        role, bind = under("kubernetes/README.md", "What it may do")
        typed(world.cluster, changed(role, {"-n models": f"-n {models}"}))
        account = {"-n models": f"-n {models}", "=deployd:": f"={world.namespace}:"}
        typed(world.cluster, changed(bind, account))
        command = [str(world.cluster.client), f"--kubeconfig={world.kubeconfig}", f"--namespace={models}"]
        await asyncio.to_thread(subprocess.run, [*command, "auth", "can-i", "patch", "deployments"], check=True)

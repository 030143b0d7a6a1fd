"""The Secret of an app: what it holds, and when it goes. And what else a pod takes from the config, on a real cluster."""

import asyncio
import base64

import pytest

from deployd.errors import ConfigError, RolloutFailed
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.environment import secret, secrets_of, write
from tests.targets.kubernetes.api_server import ApiServer, refuses
from tests.targets.kubernetes.apps import a_deploy, an_app
from tests.targets.kubernetes.world import CRASHES, PORT, RecordedProgress, World

VALUES = {"TOKEN": "hush", "OTHER": "x"}


def test_a_secret_holds_the_values_and_its_name_changes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRIS_TOKEN", "hush")
    app = an_app(env_secrets={"TOKEN": "env:IRIS_TOKEN"})
    assert secrets_of(app) == {"TOKEN": "hush"}
    made = secret(app, secrets_of(app), "here")
    assert made["metadata"]["labels"]["io.deployd.instance"] == "here"
    assert base64.b64decode(made["data"]["TOKEN"]) == b"hush"
    names = [
        secret(app, values, "here")["metadata"]["name"] for values in ({"TOKEN": "hush"}, VALUES, {"TOKEN": "hus"})
    ]
    assert names[0] == made["metadata"]["name"]
    assert len({*names}) == 3
    assert all(name.startswith("iris-env-") for name in names)


async def test_a_secret_that_is_there_is_kept_and_no_other_conflict_counts_as_that(
    server: ApiServer, api: Cluster
) -> None:
    app, path = an_app(), "/api/v1/namespaces/ml/secrets"
    manifest = secret(app, VALUES, "here")
    server.on("POST", path, refuses(409, "AlreadyExists", 'secrets "iris-env" already exists'))
    await write(api, app, manifest)
    server.on("POST", path, refuses(409, "Conflict", "the namespace has changed"))
    with pytest.raises(Refused, match="the namespace has changed"):
        await write(api, app, manifest)


def test_a_secret_that_cannot_be_read_is_a_fault_of_the_config() -> None:
    with pytest.raises(
        ConfigError, match=r"app\.iris\.kubernetes\.env_secrets.TOKEN: the environment variable NO_SUCH is not"
    ):
        secrets_of(an_app(env_secrets={"TOKEN": "env:NO_SUCH"}))


def there(world: World) -> list[str]:
    return world.cluster.api.names("secrets", world.namespace, "io.deployd.app=iris")


async def said(world: World, variable: str) -> str:
    printed: list[bytes] = []

    async def take(data: bytes) -> None:
        printed.append(data)

    assert await world.target.execute(world.app(), ["sh", "-c", f"echo ${variable}; df /dev/shm /cache"], take) == 0
    return b"".join(printed).decode()


@pytest.mark.cluster
@pytest.mark.timeout(600)
async def test_secrets_reach_the_pods_come_back_with_a_rollback_and_go_with_the_app(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", "first-hush")
    volumes = ["memory/16Mi:/dev/shm", "empty:/cache"]
    app = world.app(env_secrets={"TOKEN": "env:IRIS_TOKEN"}, volumes=volumes)
    one = world.image("one")
    progress = await world.roll_out(app, 1, one)
    assert "first-hush" not in progress.text
    answer = await said(world, "TOKEN")
    assert answer.startswith("first-hush\n")
    assert "/dev/shm" in answer
    first = there(world)
    assert len(first) == 1

    monkeypatch.setenv("IRIS_TOKEN", "second-hush")
    await world.fails(app, 2, world.image("bad", CRASHES))
    assert there(world) == first
    assert (await said(world, "TOKEN")).startswith("first-hush\n")

    await world.roll_out(app, 3, world.image("three"))
    assert (await said(world, "TOKEN")).startswith("second-hush\n")
    assert len(there(world)) == 2

    await world.roll_out(app, 4, progress.image or one, rollback_to=1)
    assert (await said(world, "TOKEN")).startswith("first-hush\n")

    await world.target.remove("iris")
    assert there(world) == []


@pytest.mark.cluster
@pytest.mark.timeout(600)
async def test_a_patch_of_the_commit_is_part_of_the_release(world: World) -> None:
    app = world.app(
        patch="k8s/patch.yaml", node_selector={"kubernetes.io/os": "linux"}, tolerations=[{"operator": "Exists"}]
    )
    with pytest.raises(RolloutFailed, match=r"there is no file k8s/patch\.yaml"):
        await world.roll_out(app, 1, world.image("one"))
    world.files["k8s/patch.yaml"] = b"spec: {template: {spec: {hostAliases: [{ip: 192.0.2.1, hostnames: [db]}]}}}"
    await world.roll_out(app, 2, world.image("one"))
    pod = world.deployment()["spec"]["template"]["spec"]
    assert pod["hostAliases"] == [{"ip": "192.0.2.1", "hostnames": ["db"]}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["tolerations"] == [{"operator": "Exists"}]

    world.files["k8s/patch.yaml"] = b"spec: {template: {spec: {nodeName: [1]}}}"
    with pytest.raises(RolloutFailed, match="nodeName"):
        await world.roll_out(app, 3, world.image("one"))
    assert await world.target.serving(app) == 2


@pytest.mark.cluster
async def test_an_app_at_another_port_is_told_with_the_port_at_which_it_listens(world: World) -> None:
    failed, _ = await world.fails(world.app(port=9090, ready={"within": "4s"}), 1, world.image("one"))
    assert failed.message.endswith(f"the app listens on {PORT}, [app.kubernetes] port is 9090")
    assert failed.hint == f"set port = {PORT} in [app.kubernetes]"


@pytest.mark.cluster
async def test_a_deploy_that_gives_way_before_the_cut_over_leaves_no_secret(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IRIS_TOKEN", "hush")
    image = world.image("one")
    deploy = a_deploy(1, commit=image.tag)
    progress = RecordedProgress(deploy)
    progress.outrun = True
    with pytest.raises(asyncio.CancelledError):
        await world.target.roll_out(world.app(env_secrets={"TOKEN": "env:IRIS_TOKEN"}), deploy, image, progress)
    assert there(world) == []

"""From a signed push to a followed rollout on a real cluster, through the daemon's own API."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.leftovers import remove
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import CONFIG, DOCKERFILE, WHO, World
from tests.e2e.world import world as make_world
from tests.faults.survivor import ANSWERS, GOLDEN, GOLDEN_DOCKERFILE
from tests.faults.witness import until
from tests.testbed import node_ports
from tests.testbed.cluster import Cluster
from tests.testbed.registry import Registry

pytestmark = [pytest.mark.engine, pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

ON_KUBERNETES = """\
target = "kubernetes"
[app.kubernetes]
kubeconfig = "KUBECONFIG"
namespace = "NAMESPACE"
replicas = 2
bake = "1s"
patience = "4s"
progress_deadline = "30s"
service = {{ type = "NodePort", port = 80 }}
"""
NON_ROOT = DOCKERFILE + "USER 65534\n"
JSON_NON_ROOT = GOLDEN_DOCKERFILE + "USER 65534\n"
WATCHED = GOLDEN + '[app.watch]\nfor = "5m"\n[app.kubernetes.resources]\nlimits = {{ memory = "40Mi" }}\n'


@pytest.fixture
async def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    docker_engine: Engine,
    base_images: object,
    cluster: Cluster,
    namespace: str,
    registry: Registry,
) -> AsyncIterator[World]:
    """A running world whose app runs on the cluster, in a namespace of its own; a parameter is appended to its config."""
    before, _, after = CONFIG.partition("[[app]]")
    head, _, ready = after.partition("[app.docker]")
    ready = "[app.ready]" + ready.partition("[app.ready]")[2]
    settings = ON_KUBERNETES.replace("KUBECONFIG", str(cluster.kubeconfig)).replace("NAMESPACE", namespace)
    config = f'{before}[registry]\nurl = "{registry.address}"\ninsecure = true\n[[app]]{head}{settings}{ready}'
    config += getattr(request, "param", "")
    made: World | None = None
    try:
        async with make_world(tmp_path, config) as made:
            yield made
    finally:
        if made is not None:
            print(made.daemon.log.read_text())
            # The pods' containers inherit the label of their image; Kubernetes has to let them go first.
            cluster.clear(namespace)
            remove(docker_engine.api(), made.daemon.instance, within=60)


@pytest.fixture
def address(world: World, cluster: Cluster, namespace: str) -> "Address":
    return Address(world, cluster, namespace)


class Address:
    """The address of the app's Service, once it exists."""

    def __init__(self, world: World, cluster: Cluster, namespace: str) -> None:
        self._world, self._cluster, self._namespace = world, cluster, namespace

    def load(self) -> Load:
        return Load(node_ports.answering(self._cluster, self._world.app, self._namespace), rest=0.06)


async def deployd(world: World, *arguments: str) -> tuple[int | None, str, str]:
    """The command line against the world's daemon: its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deployd",
        *arguments,
        env={**os.environ, "DEPLOYD_URL": world.daemon.api},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_pushes_roll_out_on_the_cluster_and_no_request_is_lost(world: World, address: Address) -> None:
    first = await world.ended(await world.push(dockerfile=NON_ROOT))
    assert first.status is Status.LIVE, first.reason
    assert [step.name for step in first.steps][:4] == ["fetch", "build", "push", "apply"]
    assert first.digest is not None
    assert "2 of 2 updated, 2 available" in await world.log(first)
    load, order = address.load(), [first.commit]
    async with load.running(WHO, kept=0, fresh=6):
        for _ in range(2):
            deploy = await world.ended(await world.push(dockerfile=NON_ROOT))
            assert deploy.status is Status.LIVE, deploy.reason
            order.append(deploy.commit)
        bad = await world.ended(await world.push(behaviour="crash", dockerfile=NON_ROOT))
        back = await world.client.rollback(world.app, 1)
        again = await world.ended(back)
        await load.all_asked_again()
    assert bad.status is Status.FAILED
    assert "exited with code 3" in bad.reason
    assert "the model file is broken" in bad.hint
    assert again.status is Status.LIVE, again.reason
    assert (await world.client.app(world.app)).live.number == again.number  # type: ignore[union-attr]
    assert load.failures == []
    assert {turn for client in load.clients for turn in client.turns} == set(order)
    assert all(client.turns[-1] == first.commit for client in load.clients)


async def test_the_command_line_asks_the_cluster(world: World) -> None:
    live = await world.ended(await world.push(dockerfile=NON_ROOT))
    assert live.status is Status.LIVE, live.reason
    code, out, _ = await deployd(world, "describe", world.app, "--json")
    assert code == 0
    described = json.loads(out)
    assert len(described["running"]["pods"]) == 2
    code, out, _ = await deployd(world, "exec", world.app, "--", "sh", "-c", "echo $COMMIT; exit 7")
    assert (code, out.strip()) == (7, live.commit)
    code, out, _ = await deployd(world, "applog", world.app, "--tail", "5")
    assert code == 0
    assert out.count(f"serving {live.commit}") == 2
    assert (await deployd(world, "scale", world.app, "3"))[0] == 0
    assert (await world.client.ready())["cluster"] == "ok"


@pytest.mark.parametrize("world", [WATCHED], indirect=True)
async def test_a_release_that_turns_bad_on_the_cluster_is_returned_by_the_template_of_the_one_before(
    world: World, address: Address
) -> None:
    world.repository.write("golden.json", ANSWERS)
    first = await world.ended(await world.push(dockerfile=JSON_NON_ROOT))
    assert first.status is Status.LIVE, first.reason
    load = address.load()
    async with load.running(WHO, kept=0, fresh=6):
        for behaviour, why in (
            ("forgets", ("golden answers were wrong 2 times",)),
            ("leaks watched", ("was killed ", "/predict does not answer")),  # whichever of the two is seen first
        ):
            bad = await world.ended(await world.push(behaviour=behaviour, dockerfile=JSON_NON_ROOT))
            assert bad.status is Status.LIVE, bad.reason
            await world.says(bad, f"{first.name} stands by")
            bad = await until(world, bad, Status.REVERTED)
            assert any(one in bad.reason for one in why), bad.reason
            await only_answered_by(load, first.commit)
            live = (await world.client.app(world.app)).live
            assert live is not None
            assert (live.number, live.commit) == (first.number, first.commit)


async def only_answered_by(load: Load, commit: str) -> None:
    """Wait until 200 requests in a row have been answered, all by that release: a node sends requests to a pod that ends until it
    has heard of that, and until then the pod answers them as it did."""
    async with asyncio.timeout(30):
        while True:
            before = _record(load)
            await load.reached(load.sent + 200)
            if _record(load) == before and all(commit in client.turns[-1] for client in load.clients):
                return


def _record(load: Load) -> list[tuple[int, int]]:
    return [(len(client.turns), len(client.failures)) for client in load.clients]


@pytest.mark.parametrize("behaviour", ["well", "crash"])
async def test_a_daemon_killed_during_a_rollout_resumes_and_ends_it(
    world: World, address: Address, behaviour: str
) -> None:
    first = await world.ended(await world.push(dockerfile=NON_ROOT))
    load = address.load()
    async with load.running(WHO, kept=0, fresh=4):
        deploy = await world.push(behaviour=behaviour, dockerfile=NON_ROOT)
        await world.says(deploy, "1 of 2 updated")
        assert world.daemon.process is not None
        world.daemon.process.kill()
        await world.daemon.process.wait()
        await world.daemon.start()
        await world.daemon.wait_until_ready()
        ended = await world.ended(deploy)
    live = (await world.client.app(world.app)).live
    assert live is not None
    if behaviour == "well":
        assert (ended.status, live.number) == (Status.LIVE, deploy.number)
    else:
        assert (ended.status, live.number) == (Status.FAILED, first.number)
        assert "exited with code 3" in ended.reason
    assert load.failures == []

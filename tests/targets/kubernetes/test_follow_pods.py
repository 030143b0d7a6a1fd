"""The pods that a follower knows of a rollout: the candidate, those of the bake and of a canary, and the one that serves."""

import asyncio
from dataclasses import replace

import pytest

from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.follow import RolloutEnded
from deployd.targets.kubernetes.pace import limited_spec
from tests.targets.kubernetes.api_server import ApiServer, lines
from tests.targets.kubernetes.follower import CORE, HALF, follower_of, ignore, later, shows
from tests.targets.kubernetes.objects import AIM, OLD, Json, a_deployment, a_pod, waiting


async def test_the_candidate_is_a_new_pod_that_runs_and_has_an_address(server: ApiServer, api: Cluster) -> None:
    old = a_pod("iris-old-1", owner="old")
    starting = a_pod("iris-new-1", phase="Pending", podIP=None)
    shows(server, a_deployment(**HALF), old, starting, a_pod("iris-new-2"))
    async with follower_of(api) as follower:
        pod = await follower.candidate(AIM)
        assert pod is not None
        assert pod["metadata"]["name"] == "iris-new-2"


async def test_there_is_no_candidate_where_a_rollout_comes_to_an_end_with_no_replicas(
    server: ApiServer, api: Cluster
) -> None:
    none = a_deployment(replicas=0, total=0, updated=0, available=0, generation=3, observed=3)
    scaled, looking = asyncio.Event(), asyncio.Event()
    shows(server, a_deployment(**HALF), then=(later(scaled, lines(("MODIFIED", none), hold=True)),))

    async def tell(_: str) -> None:
        looking.set()

    async with follower_of(api) as follower:
        ending = asyncio.create_task(follower.complete(AIM, 60, tell))
        candidate = asyncio.create_task(follower.candidate(AIM))
        await looking.wait()
        assert not candidate.done()
        scaled.set()
        assert await candidate is None
        await ending


async def test_a_candidate_that_disappears_is_noticed(server: ApiServer, api: Cluster) -> None:
    pod, goes = a_pod("iris-new-1"), asyncio.Event()
    shows(server, a_deployment(**HALF), pod)
    server.on("WATCH", f"{CORE}/pods", later(goes, lines(("DELETED", pod), hold=True)))
    async with follower_of(api) as follower:
        candidate = await follower.candidate(AIM)
        assert candidate is not None
        assert candidate["metadata"] == pod["metadata"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await follower.gone(pod)
        goes.set()
        await follower.gone(pod)


async def test_a_bake_passes_when_its_time_is_over(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(), a_pod(ready=True))
    async with follower_of(api) as follower:
        await follower.complete(AIM, 60, ignore)
        await follower.bake(AIM, 0.3)


@pytest.mark.slow
async def test_the_age_of_a_symptom_does_not_include_time_without_a_view(server: ApiServer, api: Cluster) -> None:
    crashed = a_pod(state=waiting("CrashLoopBackOff"), last={"exitCode": 1})
    mended, said = asyncio.Event(), asyncio.Event()
    shows(server, a_deployment(**HALF), crashed)
    told: list[str] = []

    async def tell(text: str) -> None:
        told.append(text)
        said.set()

    async def until_said(words: str) -> None:
        while words not in told[-1:]:
            said.clear()
            await said.wait()

    patience = 2.0
    async with follower_of(api) as follower, asyncio.TaskGroup() as group:
        group.create_task(follower.complete(replace(AIM, patience=patience), 60, tell))
        await until_said("1 of 3 updated, 3 available, 3 old")
        await server.stop()
        await until_said("waiting for the API server")
        await asyncio.sleep(patience + 0.5)
        # What the first list shows is from before the outage; a moment later the truth comes.
        shows(
            server, a_deployment(**HALF), crashed, then=(later(mended, lines(("MODIFIED", a_deployment()), hold=True)),)
        )
        await server.start()
        await until_said("1 of 3 updated, 3 available, 3 old")
        mended.set()
    assert told[-1] == "3 of 3 updated, 3 available"


@pytest.mark.slow
async def test_the_time_of_a_bake_does_not_pass_without_a_view(server: ApiServer, api: Cluster) -> None:
    ready = a_pod(ready=True)
    shows(server, a_deployment(), ready)
    async with follower_of(api) as follower:
        await follower.complete(AIM, 60, ignore)
        baking = asyncio.create_task(follower.bake(AIM, 1.5))
        await asyncio.sleep(0.1)
        await server.stop()
        await asyncio.sleep(2.5)
        assert not baking.done()
        shows(server, a_deployment(), a_pod(ready=True, restarts=1))
        await server.start()
        with pytest.raises(RolloutEnded, match="restarted soon after"):
            await baking


async def test_the_release_that_serves_is_a_ready_pod_of_the_former_image_that_stays(
    server: ApiServer, api: Cluster
) -> None:
    gone, unready, ready = (a_pod(name, owner="old", ready=name != "unready") for name in ("gone", "unready", "ready"))
    gone["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for pod in (gone, unready, ready):
        pod["spec"]["containers"] = [{"name": "iris", "image": "mirror.example.com/by-a-webhook"}]
    shows(server, a_deployment(**HALF), a_pod(), gone, unready, ready)
    async with follower_of(api) as follower:
        await follower.candidate(AIM)
        found = follower.ready(AIM, OLD)
        assert found is not None
        assert found["metadata"]["name"] == ready["metadata"]["name"]
        assert follower.ready(AIM, "another/image") is None


def a_hold() -> Json:
    """A Deployment in a canary, with one new pod beside three old ones."""
    found = a_deployment(**HALF)
    found["spec"] |= limited_spec(1)
    return found


async def test_a_step_of_a_canary_begins_when_so_many_new_pods_are_ready(server: ApiServer, api: Cluster) -> None:
    old = [a_pod(f"iris-old-{number}", owner="old", ready=True) for number in range(3)]
    young, younger = a_pod("iris-new-1", ready=True), a_pod("iris-new-2", ready=True)
    young["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    younger["metadata"]["creationTimestamp"] = "2026-01-01T00:00:09Z"
    shows(server, a_hold(), *old, young, younger)
    aim = replace(AIM, limited=True)
    async with follower_of(api) as follower:
        await follower.complete(aim, 60, ignore, 2)
        assert follower.shares(aim) == (2, 5)
        assert await follower.candidate(aim, youngest=True) == younger
        with pytest.raises(RolloutEnded, match="no progress for 0 s"):
            await follower.complete(aim, 0.2, ignore, 3)


async def test_a_pod_that_restarts_between_two_steps_of_a_canary_is_seen(server: ApiServer, api: Cluster) -> None:
    shows(server, a_hold(), a_pod(ready=True, restarts=1))
    aim = replace(AIM, limited=True)
    async with follower_of(api) as follower:
        await follower.complete(aim, 60, ignore, 1)
        settled: dict[str, int] = {}
        await follower.bake(aim, 0, settled)
        assert settled == {"uid-iris-new-1": 1}
        with pytest.raises(RolloutEnded, match="restarted"):
            await follower.bake(aim, 60, {"uid-iris-new-1": 0})

"""Following a rollout through a server that answers lists and watches; the test plays the controller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.follow import Follower, RolloutEnded, following
from deployd.targets.kubernetes.pace import held_spec
from tests.targets.kubernetes.api_server import Answer, ApiServer, a_list, lines, refuses, says
from tests.targets.kubernetes.apps import an_app
from tests.targets.kubernetes.objects import AIM, OLD, Json, a_deployment, a_pod, a_replica_set, waiting

CORE, APPS = "/api/v1/namespaces/ml", "/apis/apps/v1/namespaces/ml"
HALF: Json = {"total": 4, "updated": 1, "available": 3}


def shows(server: ApiServer, deployment: Json, *pods: Json, then: tuple[Answer, ...] = ()) -> None:
    """Set what lists answer; `then` is what the watches of the Deployment do, in turn, and the last one stays."""
    server.on("GET", f"{APPS}/deployments", says(a_list("1", deployment)))
    server.on("WATCH", f"{APPS}/deployments", *(then or (lines(hold=True),)))
    for path, items in (
        (f"{APPS}/replicasets", (a_replica_set("old", "1", OLD), a_replica_set())),
        (f"{CORE}/pods", pods),
        (f"{CORE}/events", ()),
    ):
        server.on("GET", path, says(a_list("1", *items)))
        server.on("WATCH", path, lines(hold=True))


def later(event: asyncio.Event, answer: Answer) -> Answer:
    """Give this answer once `event` is set."""

    async def wait(request: web.Request) -> web.StreamResponse:
        await event.wait()
        return await answer(request)

    return wait


@asynccontextmanager
async def follower_of(api: Cluster) -> AsyncIterator[Follower]:
    async with asyncio.timeout(30), following(api, an_app(), a_deployment()) as follower:
        yield follower


async def test_progress_is_reported_at_each_change_until_the_rollout_is_complete(
    server: ApiServer, api: Cluster
) -> None:
    half_told = asyncio.Event()
    shows(server, a_deployment(**HALF), then=(later(half_told, lines(("MODIFIED", a_deployment()), hold=True)),))
    told: list[str] = []

    async def tell(text: str) -> None:
        told.append(text)
        if "1 of 3" in text:
            half_told.set()

    async with follower_of(api) as follower:
        await follower.complete(AIM, 60, tell)
    assert told[-2:] == ["1 of 3 updated, 3 available, 3 old", "3 of 3 updated, 3 available"]
    assert len(set(told)) == len(told)
    asked = next(request for request in server.asked if request.path.endswith("/deployments"))
    assert asked.query["fieldSelector"] == "metadata.name=iris"


async def test_a_pod_that_a_queue_holds_back_is_told_once_while_the_rollout_waits(
    server: ApiServer, api: Cluster
) -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    pods = [a_pod(f"iris-new-{n}", conditions=[gated], state={}, phase="Pending") for n in (1, 2)]
    for pod in pods:
        pod["spec"]["schedulingGates"] = [{"name": "kueue.x-k8s.io/admission"}]
    told, heard = list[str](), asyncio.Event()
    shows(server, a_deployment(**HALF), *pods, then=(later(heard, lines(("MODIFIED", a_deployment()), hold=True)),))

    async def tell(text: str) -> None:
        told.append(text)
        if text.startswith("no node yet"):
            heard.set()

    async with follower_of(api) as follower:
        await follower.complete(AIM, 60, tell)
    waits = [text for text in told if "SchedulingGated" in text]
    assert waits == ["no node yet: SchedulingGated: it waits for kueue.x-k8s.io/admission"]


@pytest.mark.slow
async def test_a_change_during_a_report_is_not_missed(server: ApiServer, api: Cluster) -> None:
    half_told = asyncio.Event()
    pod = a_pod()
    shows(server, a_deployment(**HALF), pod, then=(later(half_told, lines(("MODIFIED", a_deployment()), hold=True)),))

    async with follower_of(api) as follower:
        waiters: list[asyncio.Task[None]] = []

        async def tell(text: str) -> None:
            if "1 of 3" in text:
                await asyncio.sleep(0.5)  # the other watches begin: from here on nothing else wakes anybody
                waiters.append(asyncio.create_task(follower.gone(pod)))
                half_told.set()
                while follower.view.deployment != a_deployment():  # noqa: ASYNC110 - only the other waiter is woken
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)  # the other waiter takes the news

        async with asyncio.timeout(10):
            await follower.complete(AIM, 60, tell)
        (leaving,) = waiters
        assert not leaving.done()
        leaving.cancel()


@pytest.mark.slow
async def test_a_suspicious_pod_fails_the_rollout_after_the_grace_without_a_further_change(
    server: ApiServer, api: Cluster
) -> None:
    shows(server, a_deployment(**HALF), a_pod(state=waiting("CrashLoopBackOff"), last={"exitCode": 1}))
    loop = asyncio.get_running_loop()
    async with follower_of(api) as follower:
        began = loop.time()
        with pytest.raises(RolloutEnded, match="exited with code 1") as caught:
            await follower.complete(replace(AIM, patience=1.0), 60, _ignore)
    assert loop.time() - began >= 1.0
    assert caught.value.ours


@pytest.mark.slow
async def test_a_stalled_rollout_ends_by_itself(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF), a_pod())
    async with follower_of(api) as follower:
        with pytest.raises(RolloutEnded, match="no progress for 1 s: 1 of 3 updated"):
            await follower.complete(AIM, 1.0, _ignore)


@pytest.mark.slow
async def test_no_verdict_is_given_while_the_server_is_unavailable(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF), a_pod(state=waiting("CrashLoopBackOff"), last={"exitCode": 1}))
    told: list[str] = []
    going, away = asyncio.Event(), asyncio.Event()

    async def tell(text: str) -> None:
        told.append(text)
        if "updated" in text:
            going.set()
        elif going.is_set():
            away.set()

    patience = 1.5  # the server must be gone before it is over
    async with follower_of(api) as follower:
        ending = asyncio.create_task(follower.complete(replace(AIM, patience=patience), patience, tell))
        await going.wait()
        await server.stop()
        await away.wait()
        await asyncio.sleep(patience + 0.5)
        assert not ending.done()
        shows(server, a_deployment())
        await server.start()
        await ending
    assert told[-2:] == ["waiting for the API server", "3 of 3 updated, 3 available"]


async def test_a_change_by_another_writer_is_not_undone(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF), then=(lines(("MODIFIED", a_deployment(image="other:1")), hold=True),))
    async with follower_of(api) as follower:
        with pytest.raises(RolloutEnded, match="other:1") as caught:
            await follower.complete(AIM, 60, _ignore)
    assert not caught.value.ours


async def test_a_deleted_deployment_ends_the_rollout(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF), then=(lines(("DELETED", a_deployment(**HALF)), hold=True),))
    async with follower_of(api) as follower:
        with pytest.raises(RolloutEnded, match="deleted"):
            await follower.complete(AIM, 60, _ignore)


async def test_a_missing_right_to_watch_is_reported(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF))
    server.on("GET", f"{CORE}/events", refuses(403, "Forbidden", "events is forbidden"))
    async with follower_of(api) as follower:
        with pytest.raises(Exception, match="events is forbidden"):
            await follower.complete(AIM, 60, _ignore)


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
        await follower.complete(AIM, 60, _ignore)
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
        await follower.complete(AIM, 60, _ignore)
        baking = asyncio.create_task(follower.bake(AIM, 1.5))
        await asyncio.sleep(0.1)
        await server.stop()
        await asyncio.sleep(2.5)
        assert not baking.done()
        shows(server, a_deployment(), a_pod(ready=True, restarts=1))
        await server.start()
        with pytest.raises(RolloutEnded, match="restarted soon after"):
            await baking


async def _ignore(_: str) -> None:
    return


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
    found["spec"] |= held_spec(1)
    return found


async def test_a_step_of_a_canary_begins_when_so_many_new_pods_are_ready(server: ApiServer, api: Cluster) -> None:
    old = [a_pod(f"iris-old-{number}", owner="old", ready=True) for number in range(3)]
    young, younger = a_pod("iris-new-1", ready=True), a_pod("iris-new-2", ready=True)
    young["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    younger["metadata"]["creationTimestamp"] = "2026-01-01T00:00:09Z"
    shows(server, a_hold(), *old, young, younger)
    aim = replace(AIM, held=True)
    async with follower_of(api) as follower:
        await follower.complete(aim, 60, _ignore, 2)
        assert follower.shares(aim) == (2, 5)
        assert await follower.candidate(aim, youngest=True) == younger
        with pytest.raises(RolloutEnded, match="no progress for 0 s"):
            await follower.complete(aim, 0.2, _ignore, 3)


async def test_a_pod_that_restarts_between_two_steps_of_a_canary_is_seen(server: ApiServer, api: Cluster) -> None:
    shows(server, a_hold(), a_pod(ready=True, restarts=1))
    aim = replace(AIM, held=True)
    async with follower_of(api) as follower:
        await follower.complete(aim, 60, _ignore, 1)
        settled: dict[str, int] = {}
        await follower.bake(aim, 0, settled)
        assert settled == {"uid-iris-new-1": 1}
        with pytest.raises(RolloutEnded, match="restarted"):
            await follower.bake(aim, 60, {"uid-iris-new-1": 0})

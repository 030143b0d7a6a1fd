"""Following a rollout through a server that answers lists and watches; the test plays the controller."""

import asyncio
from dataclasses import replace

import pytest

from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.follow import RolloutEnded
from tests.targets.kubernetes.api_server import ApiServer, lines, refuses
from tests.targets.kubernetes.follower import CORE, HALF, follower_of, ignore, later, shows
from tests.targets.kubernetes.objects import AIM, a_deployment, a_pod, waiting


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
            await follower.complete(replace(AIM, patience=1.0), 60, ignore)
    assert loop.time() - began >= 1.0
    assert caught.value.ours


@pytest.mark.slow
async def test_a_stalled_rollout_ends_by_itself(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF), a_pod())
    async with follower_of(api) as follower:
        with pytest.raises(RolloutEnded, match="no progress for 1 s: 1 of 3 updated"):
            await follower.complete(AIM, 1.0, ignore)


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
            await follower.complete(AIM, 60, ignore)
    assert not caught.value.ours


async def test_a_deleted_deployment_ends_the_rollout(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF), then=(lines(("DELETED", a_deployment(**HALF)), hold=True),))
    async with follower_of(api) as follower:
        with pytest.raises(RolloutEnded, match="deleted"):
            await follower.complete(AIM, 60, ignore)


async def test_a_missing_right_to_watch_is_reported(server: ApiServer, api: Cluster) -> None:
    shows(server, a_deployment(**HALF))
    server.on("GET", f"{CORE}/events", refuses(403, "Forbidden", "events is forbidden"))
    async with follower_of(api) as follower:
        with pytest.raises(Exception, match="events is forbidden"):
            await follower.complete(AIM, 60, ignore)

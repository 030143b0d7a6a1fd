"""What the pods of an app print, all of them at once, each line under its pod's name.

A followed log can end while its container runs on (rotation, a restarted kubelet): it is taken up again where it was, by
time stamp, without a line twice. New pods join, pods that end leave.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NoReturn

from deployd.errors import Unavailable
from deployd.targets.kubernetes.client import Cluster, Json, Refused
from deployd.targets.kubernetes.watch import Mirror, watching
from deployd.tasks import first, stop

_QUEUED_LINES = 1000
_AGAIN_S = 1.0
_REMOVED = "unable to retrieve container logs for "  # what a kubelet says in a log's place, with status 200


async def printed(
    cluster: Cluster, pods: str, selector: str, container: str, tail: int | None
) -> AsyncGenerator[bytes]:
    """What is there now: the last `tail` lines of each pod under the list path `pods`, one pod after the other."""
    found = await cluster.get(pods, labelSelector=selector)
    for pod in sorted(found.get("items", []), key=lambda pod: str(pod["metadata"]["name"])):
        log = _Log(cluster, f"{pods}/{pod['metadata']['name']}", container, tail)
        try:
            async with aclosing(log.lines(follow=False)) as lines:
                async for line in lines:
                    yield line
        except Refused:
            # Its container has not started yet, or it is gone by now.
            continue


async def followed(
    cluster: Cluster, pods: str, selector: str, container: str, tail: int | None
) -> AsyncGenerator[bytes]:
    """The same, and then everything that any pod prints as it comes, until the caller stops."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_LINES)
    crew = _Crew(cluster, pods, selector, container, tail, queue)
    async with watching(crew.mirror):
        work = asyncio.ensure_future(crew.run())
        try:
            while True:
                _, line = await first(queue.get(), _end_of(work))
                yield line
        finally:
            await stop(work)


async def last_lines(cluster: Cluster, pod: str, container: str | None, tail: int) -> str:
    """The last words of a container that ended, or of the one that runs when none ended; empty when there are none."""
    for previous in ("true", "false", "true"):  # the one before may have been removed just now, as the next one fell
        query = {"tailLines": str(tail), "limitBytes": "16384", "previous": previous}
        if container is not None:
            query["container"] = container
        try:
            async with cluster.stream(f"{pod}/log", query, 5.0) as lines:
                text = (await lines.read(16384)).decode("utf-8", "replace")
        except (Refused, Unavailable):
            continue
        if text.strip() and not text.startswith(_REMOVED):
            return text
    return ""


class _Crew:
    """One follower per pod that has begun to run, each putting its lines into `queue`."""

    def __init__(
        self, cluster: Cluster, pods: str, selector: str, container: str, tail: int | None, queue: asyncio.Queue[bytes]
    ) -> None:
        self._woken = asyncio.Event()
        self.mirror = Mirror(cluster, pods, self._woken.set, labelSelector=selector)
        self._new_log: Callable[[str], _Log] = lambda name: _Log(cluster, f"{pods}/{name}", container, tail)
        self._queue = queue

    async def run(self) -> NoReturn:
        """Until cancelled, or until the server refuses."""
        at_work: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                if self.mirror.failure is not None:
                    raise self.mirror.failure
                for uid, pod in self.mirror.objects.items():
                    if uid not in at_work and _begun(pod):
                        log = self._new_log(pod["metadata"]["name"])
                        at_work[uid] = asyncio.create_task(self._follow(uid, log))
                await self._woken.wait()
                self._woken.clear()
        finally:
            await stop(*at_work.values())

    async def _follow(self, uid: str, log: "_Log") -> None:
        """Hand on every line for as long as the pod is there; an answer that ends early is asked for again."""
        while (pod := self.mirror.objects.get(uid)) is not None:
            ended = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
            try:
                async with aclosing(log.lines(follow=True)) as lines:
                    async for line in lines:
                        await self._queue.put(line)
            except (Unavailable, Refused):
                ended = False
            if ended:
                return
            await asyncio.sleep(_AGAIN_S)


class _Log:
    """The log of one pod's container from `tail` lines back, and the place in it."""

    def __init__(self, cluster: Cluster, pod: str, container: str, tail: int | None) -> None:
        self._cluster = cluster
        self._pod = pod
        self._query: dict[str, str] = {"timestamps": "true", "container": container}
        self._start = {} if tail is None else {"tailLines": str(tail)}
        self._prefix = f"[{pod.rpartition('/')[2]}] ".encode()
        self._at = b""
        self._seen_at: frozenset[bytes] = frozenset()

    async def lines(self, *, follow: bool) -> AsyncGenerator[bytes]:
        """Go on from the present place until the server ends the answer."""
        since = {"sinceTime": self._at.decode()} if self._at else self._start
        query = self._query | since | {"follow": str(follow).lower()}
        known, seen = self._at, self._seen_at
        async with self._cluster.stream(f"{self._pod}/log", query, None if follow else 30.0) as content:
            while line := await content.readline():
                stamp, _, text = line.partition(b" ")
                # Only the beginning repeats what was there before; later on, an older stamp is just a slow writer's.
                if known and (stamp < known or (stamp == known and text in seen)):
                    continue
                known = known if stamp == known else b""
                self._remember(stamp, text)
                yield self._prefix + text

    def _remember(self, stamp: bytes, text: bytes) -> None:
        """The place to go on from: the latest stamp, and the lines that bear it."""
        if stamp > self._at:
            self._at, self._seen_at = stamp, frozenset()
        if stamp == self._at:
            self._seen_at |= {text}


async def _end_of(work: "asyncio.Task[NoReturn]") -> NoReturn:
    await asyncio.shield(work)


def _begun(pod: Json) -> bool:
    states = [container.get("state", {}) for container in pod.get("status", {}).get("containerStatuses", [])]
    return any("running" in state or "terminated" in state for state in states)

"""The output of all pods of an app, each line after its pod's name.

A followed log can end while its container still runs (rotation, a restarted kubelet); it is then continued from its last time
stamp, without repeating a line. New pods are added, ended pods are dropped. A line without a time stamp is the kubelet's own: it
writes its errors where the log should be, with status 200.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from datetime import datetime
from typing import NoReturn

from deployd.errors import Unavailable
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster, Json
from deployd.targets.kubernetes.informer import Informer, running
from deployd.tasks import first, stop

_QUEUED_LINES = 1000
_AGAIN_S = 1.0
_MOST_BYTES = 256 * 1024  # the server counts from the first line that it sends, and the last lines are wanted
_STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) ?(.*)", re.DOTALL)


def start(tail: int | None, since: datetime | None) -> dict[str, str]:
    """Where a log begins: at the last `tail` lines (None: all) of those `since` then."""
    lines = {} if tail is None else {"tailLines": str(tail)}
    return lines if since is None else lines | {"sinceTime": since.isoformat()}


async def printed(
    cluster: Cluster, pods: str, selector: str, container: str, start: Mapping[str, str]
) -> AsyncGenerator[bytes]:
    """The present output from `start` on, of each pod in the list at `pods`, one pod after the other."""
    found = await cluster.get(pods, labelSelector=selector)
    for pod in sorted(found.get("items", []), key=lambda pod: str(pod["metadata"]["name"])):
        log = _Log(cluster, f"{pods}/{pod['metadata']['name']}", container, start)
        try:
            async with aclosing(log.lines(follow=False)) as lines:
                async for line in lines:
                    yield line
        except Refused:
            # The container has not started yet, or the pod is gone.
            continue


async def followed(
    cluster: Cluster, pods: str, selector: str, container: str, start: Mapping[str, str]
) -> AsyncGenerator[bytes]:
    """The output as in `printed`, then every new line of any pod, until the caller stops."""
    queue: asyncio.Queue[bytes] = asyncio.Queue(_QUEUED_LINES)
    followers = _Followers(cluster, pods, selector, container, start, queue)
    async with running(followers.informer):
        work = asyncio.ensure_future(followers.run())
        try:
            while True:
                _, line = await first(queue.get(), _end_of(work))
                yield line
        finally:
            await stop(work)


async def last_lines(cluster: Cluster, pod: str, container: str | None, tail: int) -> str:
    """The last lines of the container that ended, or of the running one when none ended; empty when there are none."""
    for previous in (
        "true",
        "false",
        "true",
    ):  # the ended container may be removed while the next one crashes: try again
        query = {"tailLines": str(tail), "limitBytes": str(_MOST_BYTES), "previous": previous, "timestamps": "true"}
        if container is not None:
            query["container"] = container
        try:
            async with cluster.stream(f"{pod}/log", query, 5.0) as lines:
                printed = await lines.read()
        except (Refused, Unavailable):
            continue
        stamped = (_STAMPED.fullmatch(line) for line in printed.split(b"\n"))
        text = b"\n".join(line[2] for line in stamped if line is not None).decode("utf-8", "replace")
        if text.strip():
            return text
    return ""


class _Followers:
    """One task for each started pod, which puts the pod's lines into `queue`."""

    def __init__(
        self,
        cluster: Cluster,
        pods: str,
        selector: str,
        container: str,
        start: Mapping[str, str],
        queue: asyncio.Queue[bytes],
    ) -> None:
        self._woken = asyncio.Event()
        self.informer = Informer(cluster, pods, self._woken.set, labelSelector=selector)
        self._new_log: Callable[[str], _Log] = lambda name: _Log(cluster, f"{pods}/{name}", container, start)
        self._queue = queue

    async def run(self) -> NoReturn:
        """Run until cancelled, or until the server refuses."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                if self.informer.failure is not None:
                    raise self.informer.failure
                for uid, pod in self.informer.objects.items():
                    if uid not in tasks and _started(pod):
                        log = self._new_log(pod["metadata"]["name"])
                        tasks[uid] = asyncio.create_task(self._follow(uid, log))
                await self._woken.wait()
                self._woken.clear()
        finally:
            await stop(*tasks.values())

    async def _follow(self, uid: str, log: "_Log") -> None:
        """Queue every line for as long as the pod exists; an answer that ends early is requested again."""
        while (pod := self.informer.objects.get(uid)) is not None:
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
    """The log of one pod's container from `start` on, and the position in it."""

    def __init__(self, cluster: Cluster, pod: str, container: str, start: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._pod = pod
        self._query: dict[str, str] = {"timestamps": "true", "container": container}
        self._start = dict(start)
        self._prefix = f"[{pod.rpartition('/')[2]}] ".encode()
        self._at = b""
        self._seen_at: frozenset[bytes] = frozenset()
        self._complaints: dict[bytes, bool] = {}  # of the kubelet, and whether each was told

    async def lines(self, *, follow: bool) -> AsyncGenerator[bytes]:
        """The lines from the present position on, until the server ends the answer."""
        since = {"sinceTime": self._at.decode()} if self._at else self._start
        query = self._query | since | {"follow": str(follow).lower()}
        known, seen = self._at, self._seen_at
        async with self._cluster.stream(f"{self._pod}/log", query, None if follow else 30.0) as content:
            while line := await content.readline():
                if (stamped := _STAMPED.fullmatch(line)) is None:
                    if self._lasts(complaint := line.strip(), follow=follow):
                        yield self._prefix + b"(its node cannot give the log: " + complaint + b")\n"
                    continue
                stamp, text = stamped.groups()
                # Only the beginning repeats known lines; an older stamp later on comes from a slow writer.
                if known and (stamp < known or (stamp == known and text in seen)):
                    continue
                known = known if stamp == known else b""
                self._remember(stamp, text)
                yield self._prefix + text

    def _lasts(self, complaint: bytes, *, follow: bool) -> bool:
        """Whether to tell a complaint of the kubelet, once: when it comes again. Most pass while a container is replaced."""
        lasts = bool(complaint) and (not follow or self._complaints.get(complaint) is False)
        self._complaints[complaint] = lasts or complaint in self._complaints
        return lasts

    def _remember(self, stamp: bytes, text: bytes) -> None:
        """Store the position: the latest stamp, and the lines with that stamp."""
        if stamp > self._at:
            self._at, self._seen_at = stamp, frozenset()
        if stamp == self._at:
            self._seen_at |= {text}


async def _end_of(work: "asyncio.Task[NoReturn]") -> NoReturn:
    await asyncio.shield(work)


def _started(pod: Json) -> bool:
    states = [container.get("state", {}) for container in pod.get("status", {}).get("containerStatuses", [])]
    return any("running" in state or "terminated" in state for state in states)

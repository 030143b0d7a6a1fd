"""A live copy of a list of objects, kept by list and watch for as long as somebody looks.

Survives what watches meet: the server closing them every minute, dropped and half-dead connections, an API server that
restarts, a history that is no longer kept (410), a proxy's error page in place of JSON. While it cannot see, it says so.
Knows objects only by their uid; judges nothing.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from deployd.backoff import Backoff
from deployd.errors import Unavailable
from deployd.targets.kubernetes.client import Cluster, Gone, Json, Refused
from deployd.tasks import beside

# A watch is renewed this often, so that a connection that died without a word is noticed soon after.
WINDOW = 60.0
_SLACK = 15.0
_DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
# An API server that starts refuses what it grants a moment later, when it has read the roles.
_READING_ROLES_S = 30.0


class Mirror:
    """What the list at `path` holds now, by uid; `changed` is called after every change and when `fresh` turns."""

    def __init__(self, cluster: Cluster, path: str, changed: Callable[[], None], **query: str) -> None:
        self.objects: dict[str, Json] = {}
        self.fresh = False
        self.failure: BaseException | None = None
        self._cluster = cluster
        self._path = path
        self._query = query
        self._changed = changed
        self._watched = False
        self._refused_at: float | None = None

    async def run(self) -> None:
        """Follow until cancelled, or until the server refuses (`failure` then says why)."""
        try:
            await self._follow()
        except Exception as bug:  # whoever looks must learn of it, or would wait for ever
            self.failure = bug
            self._changed()
            raise

    async def _follow(self) -> None:
        loop = asyncio.get_running_loop()
        version: str | None = None
        backoff, pause = Backoff(_DELAYS, jitter=0.5), 0.0
        while True:
            try:
                if version is None:
                    version = await self._list()
                started = loop.time()
                version = await self._watch(version)
                if loop.time() - started > pause:
                    backoff.reset()
            except Gone:
                version = None
            except Refused as refused:
                if not self._may_pass(refused, loop.time()):
                    self.failure = refused
                    self._changed()
                    return
                version = None
                self._see(fresh=False)
            except Unavailable:
                version = None
                self._see(fresh=False)
            pause = backoff.fail()
            await asyncio.sleep(pause)

    def _may_pass(self, refused: Refused, now: float) -> bool:
        """Whether what was allowed before may soon be allowed again."""
        self._refused_at = self._refused_at or now
        return refused.status == 403 and self._watched and now - self._refused_at < _READING_ROLES_S

    async def _list(self) -> str:
        found = await self._cluster.get(self._path, **self._query)
        self.objects = {item["metadata"]["uid"]: item for item in found.get("items", [])}
        self._see(fresh=True)
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        """Take changes until the server ends the watch; the version to go on from."""
        query = self._query | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(int(WINDOW)),
        }
        async with self._cluster.stream(self._path, query, WINDOW + _SLACK) as lines:
            self._watched, self._refused_at = True, None
            self._see(fresh=True)
            while line := await lines.readline():
                version = self._take(line) or version
        return version

    def _take(self, line: bytes) -> str | None:
        try:
            event = json.loads(line)
            kind, item = event["type"], event["object"]
            meta = item.get("metadata", {})
            uid = meta.get("uid")
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise Unavailable(f"a watch of {self._path} spoke no JSON events: {line[:80]!r}") from exc
        if kind == "ERROR":
            if item.get("code") == 410:
                raise Gone(str(item.get("message", "")))
            raise Unavailable(f"a watch of {self._path} ended: {item.get('message')}")
        if kind == "DELETED":
            self.objects.pop(uid, None)
        elif kind != "BOOKMARK":
            self.objects[uid] = item
        if kind != "BOOKMARK":
            self._changed()
        version = meta.get("resourceVersion")
        return str(version) if version else None

    def _see(self, *, fresh: bool) -> None:
        self.fresh = fresh
        self._changed()


@asynccontextmanager
async def watching(*mirrors: Mirror) -> AsyncIterator[None]:
    """Keep the mirrors running inside the block."""
    async with beside(*(mirror.run() for mirror in mirrors)):
        yield

"""A live copy of a list of objects, kept up to date by list and watch.

It continues after everything that ends a watch: the server closes it every minute, connections drop or die silently, the API
server restarts, a version is too old (410), a proxy answers with an error page. While the copy may be out of date, `fresh` is
False. Knows objects only by their uid.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from deployd.backoff import Backoff
from deployd.errors import Unavailable
from deployd.targets.kubernetes.answers import Gone, Refused
from deployd.targets.kubernetes.client import Cluster, Json
from deployd.tasks import beside

# A watch is renewed this often, so that a connection that died silently is noticed soon.
WINDOW = 60.0
_SLACK = 15.0
_DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
# An API server that starts refuses everything until it has read the roles.
_READING_ROLES_S = 30.0


class Informer:
    """The objects of the list at `path` by uid; `changed` is called after every change of them and of `fresh`."""

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
        """Follow the list until cancelled, or until the server refuses; `failure` is then the reason."""
        try:
            await self._follow()
        except Exception as bug:  # the callers must see it, or they would wait for ever
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
        """Whether the refusal may pass: the server allowed this before, and may have restarted."""
        self._refused_at = self._refused_at or now
        return refused.status == 403 and self._watched and now - self._refused_at < _READING_ROLES_S

    async def _list(self) -> str:
        found = await self._cluster.get(self._path, **self._query)
        self.objects = {item["metadata"]["uid"]: item for item in found.get("items", [])}
        self._see(fresh=True)
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        """Take changes until the server ends the watch; return the version at which to continue."""
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
            raise Unavailable(f"a watch of {self._path} sent something else than JSON events: {line[:80]!r}") from exc
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
async def running(*informers: Informer) -> AsyncIterator[None]:
    """Keep the informers running inside the block."""
    async with beside(*(informer.run() for informer in informers)):
        yield

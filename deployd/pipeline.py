"""One deploy from commit to live, as an outline: the file to read first.

    fetch -> build -> (target: candidate -> gates -> cut-over) -> live, and then: drain, prune

Every step is recorded and can be cancelled; from the cut-over on the target finishes what it began. What went wrong leaves
here as an exception; the lane decides what it means for the deploy.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from deployd.config.app import App
from deployd.config.daemon import BuilderSection, Retention
from deployd.domain import Deploy, Image, Status, labels
from deployd.errors import DeploydError, RequestRefused
from deployd.logs.log import DaemonLog
from deployd.logs.logs import Logs
from deployd.ports import Builder, BuildRequest, Context, Gate, InFlight, Log, Source, Target
from deployd.progress import DeployProgress
from deployd.store.store import Store
from deployd.wanted import Outdated, wanted_head

_WAITS = (0.5, 1.0, 2.0)

Outrun = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline works with. `gates` gives an app's gates in the order in which they are asked."""

    store: Store
    logs: Logs
    source: Source
    builder: Builder
    targets: Mapping[str, Target]
    gates: Callable[[App], Sequence[Gate]]


class Pipeline:
    """Runs deploys; knows nothing of lanes, queues or who wants what."""

    def __init__(
        self,
        parts: Parts,
        *,
        instance: str,
        builder: BuilderSection,
        registry: str | None,
        waits: Sequence[float] = _WAITS,
    ) -> None:
        """`waits`: the seconds between the looks at a remote that does not show a push yet."""
        self._parts = parts
        self._waits = waits
        self._instance = instance
        self._slots = asyncio.Semaphore(builder.concurrency)
        self._cache_limit = builder.cache_limit
        self._registry = registry

    async def run(self, app: App, deploy: Deploy, outrun: Outrun) -> None:
        """Bring `deploy` live. Raises BuildFailed, RolloutFailed, Unavailable, Outdated or CancelledError."""
        with self._parts.logs.open(app.name, deploy.number) as log:
            progress = DeployProgress(self._parts.store, deploy, log, self._parts.gates(app), outrun)
            try:
                async with AsyncExitStack() as stack:
                    image = await self._image(app, deploy, progress, stack)
                    await self._parts.targets[app.target].roll_out(app, deploy, image, progress)
            except DeploydError as exc:
                exc.mask(log.redact)
                log.write(f"{deploy.name} failed: {exc}\n" + (f"  {exc.hint}\n" if exc.hint else ""))
                raise
            except asyncio.CancelledError:
                log.write(f"{deploy.name} was stopped\n")
                raise

    async def tidy(self, app: App, deploy: Deploy, retention: Retention, in_flight: InFlight) -> None:
        """After `deploy` went live: let what served before drain and go, then forget what is too old. Runs beside the next
        deploy, whose number `in_flight` tells."""
        with self._parts.logs.open(app.name, deploy.number) as log:
            progress = DeployProgress(self._parts.store, deploy, log, (), _never)
            async with progress.step("drain"):
                await self._parts.targets[app.target].sweep(app, deploy.number, log, in_flight)
            async with progress.step("prune"):
                await self.prune(app, retention, log)

    async def prune(self, app: App, retention: Retention, log: Log | None = None) -> None:
        """Forget the app's images and logs past their limits; never an image that is live, previous or in flight."""
        kept = partial(self._parts.store.kept, app.name)
        freed = await self._parts.targets[app.target].prune(app, kept, retention.images, retention.image_bytes)
        freed_logs = await self._parts.logs.prune(retention.logs, retention.log_bytes)
        freed_cache = await self._parts.builder.trim(self._cache_limit)
        found = {"images": freed, "build cache": freed_cache, "logs": freed_logs}
        said = ", ".join(f"{count / 1e6:.1f} MB of {what}" for what, count in found.items())
        (log or DaemonLog()).write(f"freed {said}\n")

    async def built(self, app: App, commit: str) -> Image | None:
        """The image of that commit as the app is configured now, when it was built before."""
        return await self._parts.builder.find(self._request(app, commit))

    async def _image(self, app: App, deploy: Deploy, progress: DeployProgress, stack: AsyncExitStack) -> Image:
        """The deploy's image: a rollback's kept one, else built from the exact commit."""
        if deploy.rollback_to is not None:
            image = await self._kept_image(app, deploy)
            await self._parts.store.advance(deploy, Status.CHECKING)
            return image
        await self._parts.store.advance(deploy, Status.BUILDING)
        async with progress.step("fetch"):
            progress.context = await self._fetch(app, deploy, progress.log, stack)
        if self._slots.locked():
            progress.log.write("waiting for another build to end (builder.concurrency)\n")
        async with self._slots, progress.step("build"):
            image = await self._build(app, deploy, progress.context, progress.log)
        await self._parts.store.record_image(deploy, image)
        if app.target == "docker":
            await self._parts.store.advance(deploy, Status.CHECKING)
        return image

    async def _fetch(self, app: App, deploy: Deploy, log: Log, stack: AsyncExitStack) -> Context:
        """The context of exactly the deploy's commit, after a look whether it still is what the branch wants."""
        if deploy.trigger.kind in {"push", "poll"}:
            await self._confirm(app, deploy)
        context = await stack.enter_async_context(await self._parts.source.fetch(app, deploy.commit, deploy.ref, log))
        if not deploy.subject:
            await self._parts.store.record_subject(deploy, *await self._parts.source.subject(app, deploy.commit))
        return context

    async def _confirm(self, app: App, deploy: Deploy) -> None:
        """The deploy's commit is what the branch wants; Outdated. A remote may show a push a moment late: then ask again."""
        for wait in (*self._waits, None):
            heads = await self._parts.source.heads(app)
            head = wanted_head(heads, await self._parts.store.known_head(app.name))
            if head is not None and head[1] == deploy.commit:
                await self._parts.store.see(app.name, deploy.commit)
                return
            if wait is None or await self._is_newer(app, deploy, head):
                raise Outdated(head)
            await asyncio.sleep(wait)

    async def _is_newer(self, app: App, deploy: Deploy, head: tuple[str, str] | None) -> bool:
        """The remote shows what was pushed after `deploy`, and not something older that it still shows."""
        if head is None:
            return False
        store = self._parts.store
        if (known := await store.latest_of(app.name, head[1])) is not None:
            return known.number > deploy.number
        return not await store.told_before(app.name, head[1], deploy.number)

    async def _build(self, app: App, deploy: Deploy, context: Context, log: Log) -> Image:
        request = self._request(app, deploy.commit)
        if (image := await self._parts.builder.find(request)) is not None:
            log.write(f"unchanged image: {image.reference} was built before\n")
            return image
        return await self._parts.builder.build(request, context, log)

    def _request(self, app: App, commit: str) -> BuildRequest:
        return BuildRequest(
            app=app,
            commit=commit,
            name=f"{self._registry}/{app.name}" if app.target == "kubernetes" else f"deployd/{app.name}",
            labels=labels(self._instance, app.name, commit=commit),
            args={"COMMIT": commit, **app.build.args},
        )

    async def _kept_image(self, app: App, deploy: Deploy) -> Image:
        earlier = await self._parts.store.deploy(app.name, deploy.rollback_to or 0)
        if earlier is None or earlier.image is None:
            hint = "deploy its commit again"
            raise RequestRefused(409, f"{app.name}/{deploy.rollback_to} left no image to go back to", hint=hint)
        return earlier.image


async def _never() -> bool:
    return False

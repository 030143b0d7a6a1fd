"""One deploy from commit to live, as an outline: the file to read first. `Pipeline.run` is the story.

    fetch       read exactly this commit, and the version of its model        here, by source/ and mlflow/
    build       make the image, or use one that was built before              here, by builders/
    candidate   start it beside what serves                                   targets/
    gates       may it have the traffic? Each gate says its verdict           Passage.prove, by gates/
    canary      where the app wants one: may it keep a share of it?           targets/, Passage.judged
    cut-over    does nothing newer wait? Then the traffic moves: it is live   Passage.cutting_over and .serving

    And then the aftermath, beside the next deploy; lane.py begins it, behind.py keeps it going:

    watch       is it good? If not, the traffic goes back (returning.py)      Aftermath.watch, by watch/
    drain       let what served before finish its requests, and stop it       Aftermath.watch and .follow, by targets/
    prune       remove images and logs that are past their limits             Aftermath.follow, by pruning.py
    report      tell outside how it went, from the first stage on             reporters/, from the store's outbox

A target starts the candidate and moves the traffic; it calls the deploy's Passage for what is decided there. (On Kubernetes the
new pods have traffic as they come: there the cut-over begins before the gates.) An app's hooks run after the gates and beside the
drain. Every step is recorded and can be cancelled; from the cut-over on the target finishes what it began. What went wrong leaves
`run` as an exception; the lane decides what it means for the deploy.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deployd.config.app import App
from deployd.config.daemon import BuilderSection
from deployd.config.digest import app_digest, release_digest
from deployd.domain import Deploy, Image, labels
from deployd.errors import BuildFailed, DeploydError, RequestRefused, RolloutFailed, Unavailable
from deployd.goal import Goal, Head
from deployd.passage import MayCutOver, Parts, Passage
from deployd.ports.builder import BuildRequest
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.status import Status

_LAST_LINES = 100


class Pipeline:
    """Runs deploys; knows nothing of lanes, queues or who wants what."""

    def __init__(self, parts: Parts, *, instance: str, builder: BuilderSection, registry: str | None) -> None:
        self._parts = parts
        self._instance = instance
        self._slots = asyncio.Semaphore(builder.concurrency)
        self._registry = registry

    async def run(self, app: App, deploy: Deploy, may_cut_over: MayCutOver) -> None:
        """Bring `deploy` live, or prove it. Raises BuildFailed, RolloutFailed, Unavailable or CancelledError.

        `may_cut_over` is asked directly before the first change of what serves; False when the deploy has to make way for a newer
        one.
        """
        if deploy.target != app.target:  # it was queued before the config changed
            await self._parts.store.record_target(deploy, app.target)
        with self._parts.logs.open(app.name, deploy.number) as log:
            passage = Passage(self._parts, app, deploy, log, may_cut_over)
            await self._record_config(app, deploy)
            async with _log_early_end(deploy, log), AsyncExitStack() as stack:
                target = self._parts.targets[app.target]
                if deploy.prove and (why := why_unprovable(app)):
                    raise RolloutFailed(why)
                await target.require(app)
                image = await self._fetch_and_build(app, passage, stack)
                if deploy.prove:
                    await target.prove(app, deploy, image, passage)  # candidate, gates: it never serves
                    await self._record_proof(passage)
                else:
                    await target.roll_out(app, deploy, image, passage)  # candidate, gates, canary, cut-over: it is live

    async def _fetch_and_build(self, app: App, passage: Passage, stack: AsyncExitStack) -> Image:
        """The image to roll out; a rollback and a restart have theirs. What is fetched stays until `stack` ends, as do the gates
        that have got ready."""
        deploy = passage.deploy
        stack.push_async_callback(passage.let_gates_go)
        if _has_its_image(deploy):
            await self._fetch_if_read(app, passage, stack)
            await passage.let_gates_get_ready()
            return await self._built_before(deploy)
        _require_its_model(app, deploy)
        context = await self._fetch(app, passage, stack)
        return await self._build(app, passage, context)

    async def _record_proof(self, passage: Passage) -> None:
        await self._parts.store.advance(passage.deploy, Status.PROVEN)
        passage.log.write(f"{passage.deploy.name} is proven, and was not switched to\n")

    async def built(self, app: App, goal: Goal) -> Image | None:
        """The image that was built before for this commit and model with the app's present config, if any."""
        return await self._built(app, self._request(app, goal))

    async def _record_config(self, app: App, deploy: Deploy) -> None:
        """Record the config that the release is made with; a rollback on Kubernetes has the former template and its config."""
        config = release_digest(app)
        if deploy.rollback_to is not None and app.target == "kubernetes":
            earlier = await self._parts.store.deploy(app.name, deploy.rollback_to)
            config = (earlier.config if earlier is not None else None) or config
        await self._parts.store.record_config(deploy, config, app_digest(app))

    async def _fetch(self, app: App, passage: Passage, stack: AsyncExitStack) -> Context:
        """The build context of exactly the deploy's commit, and of what is built its version of the model, until `stack` ends."""
        deploy = passage.deploy
        await self._parts.store.advance(deploy, Status.BUILDING)
        async with passage.step("fetch"):
            fetched = await self._parts.source.fetch(app, deploy.commit, deploy.ref, passage.log)
            passage.context = context = await stack.enter_async_context(fetched)
            if not deploy.subject:
                facts = await self._parts.source.facts(app, Head(deploy.ref, deploy.commit))
                await self._parts.store.record_subject(deploy, facts.subject, facts.author)
            if app.model is not None and deploy.registered is not None and not _has_its_image(deploy):
                found = await self._parts.models.fetch(app, deploy.registered, passage.log)
                context.add(app.model.into, {**found.files, **found.made})
            return context

    async def _fetch_if_read(self, app: App, passage: Passage, stack: AsyncExitStack) -> None:
        """Fetch the commit of a deploy that builds nothing, if its files are read; a rollback reads only its golden file.

        A rollback goes on though the remote does not answer: the file may be in the image, too.
        """
        if passage.deploy.rollback_to is None:
            if _reads_the_commit(app):
                await self._fetch(app, passage, stack)
        elif app.golden is not None:
            try:
                await self._fetch(app, passage, stack)
            except (Unavailable, BuildFailed) as exc:
                passage.log.write(f"its commit cannot be fetched: {exc.message}\n")

    async def _build(self, app: App, passage: Passage, context: Context) -> Image:
        """The image, built unless one of the same commit and settings is there."""
        deploy, log = passage.deploy, passage.log
        if self._slots.locked():
            log.write("waiting for another build to end (builder.concurrency)\n")
        async with self._slots, passage.step("build"):
            await passage.let_gates_get_ready()
            request = self._request(app, deploy.goal)
            image = await self._built(app, request, deploy)
            if image is not None:
                log.write(f"unchanged image: {image.reference} was built before\n")
                await self._parts.store.record_image(deploy, image)
            else:
                image = await self._build_anew(app, passage, request, context)
            with suppress(Unavailable):  # a registry may be slow to show what was pushed: then the size is not known
                if (present := await self._parts.builder.find(image)) is not None and present.size:
                    await self._parts.store.record_size(deploy, present.size)
        if app.target == "docker" or deploy.prove:
            await self._parts.store.advance(deploy, Status.CHECKING)
        return image

    async def _built(self, app: App, request: BuildRequest, deploy: Deploy | None = None) -> Image | None:
        """The newest image of that commit and settings that is still there. One that is to be built anew must be this deploy's
        own, from before an interruption; one with `build.pull` must have been built on bases that are new enough."""
        for build in await self._parts.store.built(app.name, request.commit, request.settings):
            if deploy is not None and deploy.rebuild and build.number != deploy.number:
                continue
            if build.image is None or _is_old(app, build.pulled_at):
                continue
            if (found := await self._parts.builder.find(build.image)) is not None and found.named:
                return build.image
        return None

    async def _build_anew(self, app: App, passage: Passage, request: BuildRequest, context: Context) -> Image:
        """Build the image, under a name that no other build has or had; both are recorded, the name before it is used."""
        store, deploy = self._parts.store, passage.deploy
        last = await store.last_pull(app.name)
        pull = deploy.rebuild or _is_old(app, last)
        request = replace(request, fresh=deploy.rebuild, pull=pull)
        build = await store.begin_build(deploy, request.full_name, request.settings)
        pulled_at = datetime.now(UTC) if pull else last
        image = await self._parts.builder.build(request, context, passage.log)
        for base in image.bases:
            passage.log.write(f"built on {base.name}, {base.digest or 'digest unknown'}\n")
        await store.end_build(deploy, build, image, pulled_at)
        return image

    async def _built_before(self, deploy: Deploy) -> Image:
        """The image that a rollback goes back to, or that a restart uses again."""
        number = deploy.rollback_to or deploy.number
        earlier = await self._parts.store.deploy(deploy.app, number)
        if earlier is None or earlier.image is None:
            hint = "deploy its commit again"
            raise RequestRefused(409, f"{deploy.app}/{number} has no image to go back to", hint=hint)
        if earlier.image_size is not None:
            await self._parts.store.record_size(deploy, earlier.image_size)
        await self._parts.store.advance(deploy, Status.CHECKING)
        return earlier.image

    def _request(self, app: App, goal: Goal) -> BuildRequest:
        return BuildRequest(
            app=app,
            commit=goal.commit,
            registered=goal.registered,
            name=f"{self._registry}/{app.name}"
            if app.target == "kubernetes"
            else f"deployd/{self._instance}/{app.name}",
            tag=f"{goal.commit}-{secrets.token_hex(4)}",
            labels=labels(self._instance, app.name, goal=goal),
            args={"COMMIT": goal.commit, **app.build.args},
        )


@asynccontextmanager
async def _log_early_end(deploy: Deploy, log: Log) -> AsyncIterator[None]:
    """Write into the log why the deploy ended early, and leave no secret in the error."""
    try:
        yield
    except DeploydError as exc:
        exc.mask(log.redact)
        told = set(exc.hint.splitlines()) <= set(log.tail(_LAST_LINES).splitlines())  # as that of a failed build
        log.write(f"{deploy.name} failed: {exc}\n" + ("" if told else f"  {exc.hint}\n"))
        raise
    except asyncio.CancelledError:
        log.write(f"{deploy.name} was stopped\n")
        raise


def why_unprovable(app: App) -> str:
    """Why no candidate of the app can be proven beside what serves; empty when one can."""
    if app.target == "docker" and app.docker.start == "stop-first":
        return f'app.{app.name}.docker.start = "stop-first": it cannot run twice, so nothing can be proven beside what serves'
    return ""


def _has_its_image(deploy: Deploy) -> bool:
    """Whether a deploy uses an image that is there, and builds none."""
    return deploy.rollback_to is not None or deploy.trigger.kind == "restart"


def _require_its_model(app: App, deploy: Deploy) -> None:
    if (app.model is None) != (deploy.registered is None):
        added = "has no" if app.model is None else "has a"
        what = f"{deploy.name} was queued before the config changed: {app.name} {added} table [app.model] now"
        raise BuildFailed(what, hint=f"deployd deploy {app.name}")


def _reads_the_commit(app: App) -> bool:
    """Whether a roll-out reads files of the commit, though it builds nothing."""
    patched = app.target == "kubernetes" and app.kubernetes is not None and app.kubernetes.patch is not None
    return patched or any(gate is not None for gate in (app.golden, app.evaluate, app.compare))


def _is_old(app: App, pulled_at: datetime | None) -> bool:
    """Whether base images that were pulled then (None: never) have to be pulled again."""
    limit = app.build.pull
    return limit is not None and (pulled_at is None or datetime.now(UTC) - pulled_at >= timedelta(seconds=limit))

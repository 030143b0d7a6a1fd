"""One roll-out on Kubernetes, from the patch to a release that has proven itself, or back to the last good one.

    push -> cut-over (the patch) -> rollout, while the gates ask the first new pod -> bake -> good

However it ends after the patch (a bad verdict, a gate, a bug, a cancellation), the last good release is put back, unless
somebody else changed the Deployment meanwhile: then it is left to them. A newer deploy then rolls over the good one.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from msgspec import structs

from deployd.domain import Deploy, Image
from deployd.errors import DeploydError, RolloutFailed, Unavailable
from deployd.ports import Candidate, Progress
from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.candidate import address_of
from deployd.targets.kubernetes.client import Json
from deployd.targets.kubernetes.follow import Follower, RolloutEnded, following
from deployd.targets.kubernetes.output import last_lines
from deployd.targets.kubernetes.placement import Placement
from deployd.targets.kubernetes.releases import Record, Release, Releases
from deployd.targets.kubernetes.symptoms import Symptom
from deployd.targets.kubernetes.verdict import Aim, stale_deadline
from deployd.tasks import first, together, uninterrupted

# What the controller does not end itself (it is down, or the deadline already stood) ends so long after the deadline.
_SLACK_S = 30.0
_BACK_S = 60.0


class Pusher(Protocol):
    """Brings an image to where the cluster pulls from."""

    async def push(self, image: Image, log: Any) -> Image: ...


class Rollout:
    """Makes one release serve. Use once."""

    def __init__(self, placement: Placement, deploy: Deploy, progress: Progress, releases: Releases) -> None:
        self._placement = placement
        self._app = placement.app
        self._deploy = deploy
        self._progress = progress
        self._releases = releases
        self._record = Record(placement.place)
        self._asked_back = False
        self._returned: Json | None = (
            None  # the Deployment as it was answered when the good release was asked for again
        )

    async def run(self, image: Image, registry: Pusher) -> None:
        """Bring `image` to serve. RolloutFailed says why it does not; what served before then serves on."""
        _, warnings = await self._placement.examine()
        for warning in warnings:
            self._progress.log.write(f"warning: {warning}\n")
        async with self._progress.step("push"):
            image = await registry.push(image, self._progress.log)
            await self._progress.pushed(image)
        # A push can take minutes: what is compared with must be what is there now.
        found, _ = await self._placement.examine()
        release = await self._aim_at(image, found)
        await self._progress.cutting_over()
        await self._remember(found)
        try:
            await self._go(release, image, found)
        except BaseException as exc:
            # Also after a cancellation or a bug: an unproven release never goes on unfollowed.
            await uninterrupted(self._back(exc))
            raise
        await uninterrupted(self._good(release))

    async def _aim_at(self, image: Image, found: Json | None) -> Release:
        """The stored template for a rollback, which brings its old ReplicaSet back; the present config's otherwise."""
        known = self._releases.read(self._app.name)
        self._record = replace(known, place=self._placement.place, theirs="") if known else self._record
        if self._deploy.rollback_to is not None:
            earlier = self._record.of(self._deploy.rollback_to)
            same_kind = earlier is not None and (earlier.template is not None) == self._placement.settings.create
            if earlier is not None and same_kind and earlier.image == image.reference:
                return replace(earlier, number=self._deploy.number)
        return await self._placement.plan(self._deploy, image, found)

    async def _remember(self, found: Json | None) -> None:
        """Before anything changes: where nothing is recorded, what the Deployment holds is the release to go back to."""
        if found is not None and self._record.last is None:
            present = self._placement.present(found, self._deploy)
            self._record = self._record.having(present) if present is not None else self._record
        await self._write(self._record)

    async def _go(self, release: Release, image: Image, found: Json | None) -> None:
        async with self._step("apply"):
            placed = await self._placement.put(release, self._deploy, found, self._record.last)
        aim = self._aim(release, placed, found)
        async with following(self._placement.cluster, self._app, placed) as follower:
            async with self._step("rollout"):
                await self._complete(follower, aim, image)
            if self._placement.settings.bake > 0:
                async with self._step("bake"):
                    await follower.bake(aim, self._placement.settings.bake)

    async def _complete(self, follower: Follower, aim: Aim, image: Image) -> None:
        limit = self._placement.settings.progress_deadline + _SLACK_S
        tell = partial(self._progress.tell, "rollout")
        try:
            await together(follower.complete(aim, limit, tell), self._prove(follower, aim, image))
        except RolloutEnded as ended:
            raise await self._explained(ended, ended.message) from ended
        except RolloutFailed as refused:
            if (symptom := follower.worst(aim)) is None:
                raise
            why = RolloutEnded(symptom.reason, ours=True, symptom=symptom, hint=refused.hint)
            raise await self._explained(why, f"{refused.message}; {symptom.reason}") from refused

    def _aim(self, release: Release, placed: Json, found: Json | None) -> Aim:
        """What to wait for. When nothing changed, the rollout was ours already and so is a deadline that has passed."""
        stamp = (found or {}).get("metadata", {}).get("annotations", {}).get(manifests.DEPLOY)
        taken_up = (
            found is not None
            and stamp == str(self._deploy.number)
            and found["metadata"]["generation"] == placed["metadata"]["generation"]
        )
        stale = None if taken_up else stale_deadline(placed)
        return aim_at(release, placed, stale, self._placement.settings.patience)

    async def _prove(self, follower: Follower, aim: Aim, image: Image) -> None:
        """Let the gates ask the first new pod; another one when that goes away meanwhile."""
        settings = self._placement.settings
        port = manifests.port_of(aim.template, aim.container) if settings.create else settings.port
        while True:
            if (pod := await follower.candidate(aim)) is None:
                self._tell("no replicas are wanted: nothing is proven")
                return
            async with address_of(self._placement.cluster, pod, port) as address:
                candidate = Candidate(self._app, self._deploy, address, image)
                proving, leaving = self._progress.prove(candidate), follower.gone(pod)
                ended, _ = await first(proving, leaving)
                if ended == 0:
                    return

    async def _explained(self, ended: RolloutEnded, message: str) -> RolloutEnded:
        """With `message` and, where a container crashed, its last words."""
        symptom, hint = ended.symptom, ended.hint
        lines = await self._last_words(symptom) if symptom is not None and symptom.crashed is not None else ""
        if symptom is not None and lines:
            self._progress.log.write(f"last lines of {symptom.pod}:\n{lines}\n")
            last = lines.strip().splitlines()[-10:]
            message, hint = f"{message}, last line: {last[-1].strip()[:300]}", "\n".join(last)
        return RolloutEnded(message, ours=ended.ours, symptom=symptom, hint=hint)

    async def _last_words(self, symptom: Symptom) -> str:
        pod = manifests.path(self._app, "pods", symptom.pod)
        return await last_lines(self._placement.cluster, pod, symptom.crashed, 20)

    @asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[None]:
        """A step that, when it fails, asks for the good release before that is recorded: a full disk holds records up."""
        async with self._progress.step(name):
            try:
                yield
            except BaseException as exc:
                await uninterrupted(self._ask_back(exc))
                raise

    async def _back(self, exc: BaseException) -> None:
        """Put the last good release back; `exc` is why. What cannot be put back is logged and does not hide `exc`: whoever
        finds that it does not serve restores it."""
        await self._ask_back(exc)
        if self._returned is None or self._record.last is None:
            return
        async with self._progress.step("back"):
            if not isinstance(exc, asyncio.CancelledError):
                await self._lenient(self._follow_back(self._record.last, self._returned))

    async def _ask_back(self, exc: BaseException) -> None:
        """Ask the cluster for the last good release again; once."""
        if not self._asked_back:
            self._asked_back = True
            await self._lenient(self._return(exc))

    async def _return(self, exc: BaseException) -> None:
        if isinstance(exc, RolloutEnded) and not exc.ours:
            self._tell(f"left as it is: {exc.message}")
            await self._write(replace(self._record, theirs=exc.message))
            return
        if (good := self._record.last) is None:
            self._tell("no release was good before: what this one made goes")
            await self._placement.delete()
            return
        number = good.number or 0
        before = structs.replace(
            self._deploy, number=number, commit=good.commit, subject=f"back from {self._deploy.name}"
        )
        self._returned = await self._placement.put_back(good, before)
        if self._returned is None:
            self._tell("left as it is: somebody else changed the image")
        else:
            self._tell(f"back to {f'{self._app.name}/{number}' if number else 'what ran before'}: {good.image}")

    async def _follow_back(self, good: Release, placed: Json) -> None:
        aim = self._aim(good, placed, None)
        async with following(self._placement.cluster, self._app, placed) as follower:
            await follower.complete(aim, _BACK_S, partial(self._progress.tell, "back"))

    async def _lenient(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with asyncio.timeout(_BACK_S):
                await work
        except (DeploydError, TimeoutError) as trouble:
            self._tell(f"the last good release is not back yet: {str(trouble) or 'its rollout takes long'}")

    async def _good(self, release: Release) -> None:
        """The release is good: remembered first, so that a crash from here on finds it serving."""
        self._record = self._record.having(release)
        try:
            await self._write(self._record)
        except Unavailable as full:
            # What is proven is not taken back for that: the store waits for room, and then there is room for this too.
            self._tell(f"not remembered yet: {full}")
            await self._progress.serving()
            await self._write(self._record)
        else:
            await self._progress.serving()

    async def _write(self, record: Record) -> None:
        await asyncio.to_thread(self._releases.write, self._app.name, record)

    def _tell(self, text: str) -> None:
        self._progress.log.write(f"{text}\n")


def aim_at(release: Release, placed: Json, stale: str | None, patience: float) -> Aim:
    """What to wait for when `placed` is what the cluster answered to `release`; the rest as in Aim."""
    return Aim(
        container=release.container,
        image=release.image,
        generation=placed["metadata"]["generation"],
        uid=placed["metadata"]["uid"],
        template=placed["spec"]["template"],
        stale=stale,
        patience=patience,
    )

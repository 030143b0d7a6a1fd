"""One roll-out on Kubernetes: from the patch to a release that has proven itself, or back to the last good one.

    push -> cut-over (the patch) -> rollout, while the gates check the first new pod -> bake -> good

With a canary the patch limits the rollout, the gates check the first new pod in the canary, and then the rollout goes on.
When it fails after the patch, for whatever reason (verdict, gate, bug, cancellation), it restores the last good release, unless
somebody else has changed the Deployment meanwhile. A newer deploy then starts from the good release.
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
from deployd.ports.target import Progress
from deployd.targets.kubernetes import manifests, notices, silence
from deployd.targets.kubernetes.admission import require_admission
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.canary import NAME as CANARY
from deployd.targets.kubernetes.canary import Canary, first_pods
from deployd.targets.kubernetes.client import Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.follow import Follower, RolloutEnded, following
from deployd.targets.kubernetes.output import last_lines
from deployd.targets.kubernetes.pod_gates import PodGates
from deployd.targets.kubernetes.releases import Record, Release, Releases
from deployd.targets.kubernetes.symptoms import Symptom
from deployd.targets.kubernetes.verdict import Aim, stale_deadline
from deployd.tasks import together, uninterrupted

# A rollout that the controller does not end (it is down, or the deadline had passed before) ends this long after the deadline.
_SLACK_S = 30.0
_RESTORED_WITHIN_S = 60.0


class Pusher(Protocol):
    """Pushes an image to the registry from which the cluster pulls."""

    async def push(self, image: Image, log: Any) -> Image: ...


class Rollout:
    """Makes one release serve. Use once."""

    def __init__(self, deployment: AppDeployment, deploy: Deploy, progress: Progress, releases: Releases) -> None:
        self._deployment = deployment
        self._app = deployment.app
        self._deploy = deploy
        self._progress = progress
        self._releases = releases
        self._record = Record(deployment.place)
        self._release: Release | None = None
        self._before: Json | None = None  # the Deployment as it was found
        self._restore_begun = False
        self._restored: Json | None = None  # the Deployment after the good release was written again

    async def run(self, image: Image, registry: Pusher) -> None:
        """Make `image` serve. RolloutFailed when it does not; the release before then still serves."""
        with notices.told_to(self._progress.log.write):
            await self._run(image, registry)

    async def _run(self, image: Image, registry: Pusher) -> None:
        _, warnings = await self._deployment.examine()
        for warning in warnings:
            self._progress.log.write(f"warning: {warning}\n")
        async with self._progress.step("push"):
            image = await registry.push(image, self._progress.log)
            await self._progress.pushed(image)
        # A push can take minutes, and the patch must compare with the present Deployment.
        found = self._before = (await self._deployment.examine())[0]
        release = self._release = await self._release_of(image, found)
        would = await require_admission(self._deployment, release, self._deploy, found)
        pods = first_pods(self._deployment, release, self._deploy, found, would) if found is not None else None
        await self._progress.cutting_over()
        await self._record_present(found)
        try:
            await self._roll(release, image, found, pods if self._record.last is not None else None)
        except BaseException as exc:
            # After a cancellation or a bug too: an unproven release must not continue without being followed.
            await uninterrupted(self._restore(exc))
            raise
        await uninterrupted(self._record_good(release))

    async def _release_of(self, image: Image, found: Json | None) -> Release:
        """For a rollback, the stored template, whose ReplicaSet may still exist; otherwise one from the present config."""
        known = self._releases.read(self._app.name)
        self._record = replace(known, place=self._deployment.place, taken_over="") if known else self._record
        if self._deploy.rollback_to is not None:
            earlier = self._record.find(self._deploy.rollback_to)
            same_kind = earlier is not None and (earlier.template is not None) == self._deployment.settings.create
            if earlier is not None and same_kind and earlier.image == image.reference:
                return replace(earlier, number=self._deploy.number)
        file = self._deployment.settings.patch
        patch = await self._progress.read(file) if file is not None else None
        return await self._deployment.new_release(self._deploy, image, found, patch=patch, log=self._progress.log)

    async def _record_present(self, found: Json | None) -> None:
        """Before anything changes: when there is no record yet, record the present release as the one to go back to."""
        if found is not None and self._record.last is None:
            present = self._deployment.last_good(found, self._deploy)
            self._record = self._record.adding(present) if present is not None else self._record
        await self._write(self._record)

    async def _roll(self, release: Release, image: Image, found: Json | None, pods: int | None) -> None:
        """`pods`: with how many new pods the canary begins; None without one."""
        good, settings = self._record.last, self._deployment.settings
        async with self._step("apply"):
            applied = await self._deployment.apply(release, self._deploy, found, good, pods)
        aim = replace(self._aim(release, applied, found), limited=pods is not None)
        async with following(self._deployment.cluster, self._app, applied) as follower:
            gates = PodGates(self._deployment, self._deploy, image, good, follower, self._progress.log)
            limit, tell = settings.progress_deadline + _SLACK_S, partial(self._progress.tell, "rollout")
            if pods is not None:
                canary = Canary(self._deployment, self._deploy, self._progress, release, good, limit=limit)
                recorded, back = canary.recorded(), self._restoring()
                async with self._progress.step(CANARY), recorded, back, self._explaining(follower, aim):
                    applied, aim = await canary.run(follower, gates, applied, aim, pods)
            async with self._step("rollout"), self._explaining(follower, aim):
                if aim.limited:
                    applied = await self._deployment.go_on(applied, release, self._deploy, good, None)
                    aim = replace(aim, generation=applied["metadata"]["generation"], limited=False)
                    await follower.complete(aim, limit, tell)
                else:
                    await together(follower.complete(aim, limit, tell), gates.ask(aim, self._progress.prove))
            if settings.bake > 0:
                async with self._step("bake"):
                    await follower.bake(aim, settings.bake)

    @asynccontextmanager
    async def _explaining(self, follower: Follower, aim: Aim) -> AsyncIterator[None]:
        """When the block fails, add the reason that the pods show."""
        try:
            yield
        except RolloutEnded as ended:
            raise await self._explained(ended, ended.message) from ended
        except RolloutFailed as refused:
            if (symptom := follower.worst(aim)) is None:
                raise
            why = RolloutEnded(symptom.reason, ours=True, symptom=symptom, hint=refused.hint)
            raise await self._explained(why, f"{refused.message}; {symptom.reason}") from refused

    def _aim(self, release: Release, applied: Json, found: Json | None) -> Aim:
        """The aim of the rollout. When the patch changed nothing, the rollout began earlier, and a passed deadline counts."""
        number = (found or {}).get("metadata", {}).get("annotations", {}).get(manifests.DEPLOY)
        continued = (
            found is not None
            and number == str(self._deploy.number)
            and found["metadata"]["generation"] == applied["metadata"]["generation"]
        )
        stale = None if continued else stale_deadline(applied)
        return aim_at(release, applied, stale, self._deployment.settings.patience)

    async def _explained(self, ended: RolloutEnded, message: str) -> RolloutEnded:
        """`ended` with `message` and, when a container crashed, its last lines."""
        symptom, hint = ended.symptom, ended.hint
        unhealthy = symptom is not None and symptom.key[1] == "Unhealthy"
        if (
            symptom is not None
            and unhealthy
            and (quiet := await silence.find(self._deployment, symptom.pod)) is not None
        ):
            return RolloutEnded(f"{message}; {quiet.reason}", ours=ended.ours, symptom=symptom, hint=quiet.hint or hint)
        lines = await self._last_lines(symptom) if symptom is not None and symptom.crashed is not None else ""
        if symptom is not None and lines:
            self._progress.log.write(f"last lines of {symptom.pod}:\n{lines}\n")
            last = lines.strip().splitlines()[-10:]
            message, hint = f"{message}, last line: {last[-1].strip()[:300]}", "\n".join(last)
        return RolloutEnded(message, ours=ended.ours, symptom=symptom, hint=hint)

    async def _last_lines(self, symptom: Symptom) -> str:
        pod = manifests.path(self._app, "pods", symptom.pod)
        return await last_lines(self._deployment.cluster, pod, symptom.crashed, 20)

    @asynccontextmanager
    async def _step(self, name: str) -> AsyncIterator[None]:
        """A step that restores the good release when it fails, before its failure is recorded: a full disk delays the record."""
        async with self._progress.step(name), self._restoring():
            yield

    @asynccontextmanager
    async def _restoring(self) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as exc:
            await uninterrupted(self._begin_restore(exc))
            raise

    async def _restore(self, exc: BaseException) -> None:
        """Restore the last good release because of `exc`. A failure is logged and does not hide `exc`: the release is
        restored later, when it is found not to serve."""
        await self._begin_restore(exc)
        if self._restored is None or self._record.last is None:
            return
        async with self._progress.step("revert"):
            if not isinstance(exc, asyncio.CancelledError):
                await self._logged(self._follow_restore(self._record.last, self._restored))

    async def _begin_restore(self, exc: BaseException) -> None:
        """Write the last good release again, once."""
        if not self._restore_begun:
            self._restore_begun = True
            await self._logged(self._reapply(exc))

    async def _reapply(self, exc: BaseException) -> None:
        if isinstance(exc, RolloutEnded) and not exc.ours:
            self._tell(f"left as it is: {exc.message}")
            await self._logged(self._deployment.let_go())
            await self._write(replace(self._record, taken_over=exc.message))
            return
        if isinstance(exc, Refused) and await self._deployment.as_before(self._before):
            self._tell("nothing was changed in the cluster")
            await self._remove_secrets()
            return
        if (good := self._record.last) is None:
            self._tell("there is no good release to go back to: the Deployment is removed")
            await self._deployment.delete()
            await self._remove_secrets()
            return
        number, subject = good.number or 0, f"revert of {self._deploy.name}"
        of_good = {"number": number, "commit": good.commit, "registered": good.registered}
        before = structs.replace(self._deploy, **of_good, subject=subject)
        self._restored = await self._deployment.reapply(good, before)
        if self._restored is None:
            self._tell("left as it is: somebody else changed the image")
        else:
            self._tell(f"back to {f'{self._app.name}/{number}' if number else 'what ran before'}: {good.image}")
            await self._remove_secrets()

    async def _remove_secrets(self) -> None:
        """Remove the Secret of the failed release, if no other release needs it."""
        if self._release is not None:
            await self._deployment.remove_secrets([self._release], self._record.releases)

    async def _follow_restore(self, good: Release, applied: Json) -> None:
        aim = self._aim(good, applied, None)
        async with following(self._deployment.cluster, self._app, applied) as follower:
            await follower.complete(aim, _RESTORED_WITHIN_S, partial(self._progress.tell, "revert"))

    async def _logged(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a part of the restore within its time limit; a failure only goes into the log."""
        try:
            async with asyncio.timeout(_RESTORED_WITHIN_S):
                await work
        except (DeploydError, TimeoutError) as failure:
            self._tell(f"the last good release does not serve again yet: {str(failure) or 'its rollout takes long'}")

    async def _record_good(self, release: Release) -> None:
        """Record the release as good, and only then as live: after a crash in between, it is found to be serving."""
        before, self._record = self._record, self._record.adding(release)
        try:
            await self._write(self._record)
        except Unavailable as full:
            # A proven release is not replaced because of that. `serving` waits for disk space, which then serves this too.
            self._tell(f"the release is not recorded yet: {full}")
            await self._progress.serving()
            await self._write(self._record)
        else:
            await self._progress.serving()
        await self._logged(self._deployment.remove_secrets(before.releases, self._record.releases))

    async def _write(self, record: Record) -> None:
        await asyncio.to_thread(self._releases.write, self._app.name, record)

    def _tell(self, text: str) -> None:
        self._progress.log.write(f"{text}\n")


def aim_at(release: Release, applied: Json, stale: str | None, patience: float) -> Aim:
    """The aim of a rollout; `applied` is the Deployment in the answer to the write, the rest as in Aim."""
    return Aim(
        container=release.container,
        image=release.image,
        generation=applied["metadata"]["generation"],
        uid=applied["metadata"]["uid"],
        template=applied["spec"]["template"],
        stale=stale,
        patience=patience,
    )

"""Following one rollout with open eyes: mirrors of what matters, judged again at every change until there is an end.

Owns the clock of symptoms (how long each has lasted) and the limit on a rollout that stands still. Judges only while it
sees: what was true before an API server went away must not fail a rollout after it came back.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import assert_never

from deployd.config.app import App
from deployd.errors import DeploydError, RolloutFailed
from deployd.targets.kubernetes import manifests
from deployd.targets.kubernetes.adoption import selector_of
from deployd.targets.kubernetes.client import Cluster, Json
from deployd.targets.kubernetes.symptoms import Symptom, is_ready, of_pod, restarts_of, worst_symptom
from deployd.targets.kubernetes.verdict import (
    Aim,
    Complete,
    Failed,
    Going,
    Outcome,
    Overtaken,
    View,
    bake_verdict,
    is_empty,
    new_pods,
    rollout_verdict,
)
from deployd.targets.kubernetes.watch import Mirror, watching


class RolloutEnded(RolloutFailed):
    """A rollout came to a bad end. `ours` is False when somebody else took the Deployment over: hands off."""

    def __init__(self, reason: str, *, ours: bool, symptom: Symptom | None = None, hint: str = "") -> None:
        super().__init__(reason, hint=hint)
        self.ours = ours
        self.symptom = symptom


class Follower:
    """One Deployment under watch; made by `following`."""

    def __init__(self, cluster: Cluster, app: App, labels: str) -> None:
        self._woken = asyncio.Event()
        _, name = manifests.names(app)
        where = [
            Mirror(
                cluster,
                manifests.collection(app, "deployments"),
                self._woken.set,
                fieldSelector=f"metadata.name={name}",
            ),
            Mirror(cluster, manifests.collection(app, "replicasets"), self._woken.set, labelSelector=labels),
            Mirror(cluster, manifests.collection(app, "pods"), self._woken.set, labelSelector=labels),
            Mirror(
                cluster, manifests.collection(app, "events"), self._woken.set, fieldSelector="involvedObject.kind=Pod"
            ),
        ]
        self.mirrors = where
        self._deployments, self._replica_sets, self._pods, self._events = where
        self._since: dict[tuple[str, str], float] = {}

    @property
    def view(self) -> View:
        """What is seen now."""
        return View(
            next(iter(self._deployments.objects.values()), None),
            list(self._replica_sets.objects.values()),
            list(self._pods.objects.values()),
            list(self._events.objects.values()),
        )

    async def complete(self, aim: Aim, limit: float, tell: Callable[[str], Awaitable[None]]) -> None:
        """Return when the rollout is complete; RolloutEnded says why it will not be.

        `limit` ends one that stands still for so many seconds although nobody says that it failed.
        """
        moved, said = asyncio.get_running_loop().time(), ""
        while True:
            outcome, wait = self._judge(aim)
            text = outcome.text if isinstance(outcome, (Going, Complete)) else said
            if text != said:
                moved, said = asyncio.get_running_loop().time(), text
                await tell(text)
                continue  # what changed while telling may have woken somebody else: judge again before waiting
            match outcome:
                case Complete():
                    return
                case Failed() | Overtaken():
                    raise _ended(outcome)
                case Going():
                    left = moved + limit - asyncio.get_running_loop().time()
                    if left <= 0 and self.seeing:
                        worst = next(iter(outcome.waiting), None)
                        because = f"; {worst.reason}" if worst else ""
                        raise _ended(Failed(f"no progress for {limit:.0f} s: {outcome.text}{because}", worst))
                    await self._next(min(left, wait) if self.seeing else None)
                case _:
                    assert_never(outcome)

    async def candidate(self, aim: Aim) -> Json | None:
        """The first new pod that runs and has an address; None when the rollout is complete with no replicas."""
        while True:
            if self.seeing and is_empty(self.view, aim):
                return None
            for pod in new_pods(self.view, aim):
                status = pod.get("status", {})
                if status.get("podIP") and status.get("phase") == "Running":
                    return pod
            await self._next(None)

    def worst(self, aim: Aim) -> Symptom | None:
        """What is most wrong with the new pods now."""
        return worst_symptom([symptom for pod in new_pods(self.view, aim) for symptom in of_pod(pod, self.view.events)])

    async def gone(self, pod: Json) -> None:
        """Return when the pod is gone or on its way out."""
        uid = pod["metadata"]["uid"]
        while (now := self._pods.objects.get(uid)) and not now["metadata"].get("deletionTimestamp"):
            await self._next(None)

    async def bake(self, aim: Aim, seconds: float) -> None:
        """Look on for a while after completion; RolloutEnded when what was ready goes bad. Time in which nothing is seen does
        not count."""
        loop = asyncio.get_running_loop()
        left = seconds
        settled = {pod["metadata"]["uid"]: restarts_of(pod) for pod in new_pods(self.view, aim) if is_ready(pod)}
        while True:
            if seeing := self.seeing:
                if bad := bake_verdict(self.view, aim, settled):
                    raise _ended(bad)
                if left <= 0:
                    return
            seen_at = loop.time()
            await self._next(left if seeing else None)
            left -= loop.time() - seen_at if seeing else 0.0

    @property
    def seeing(self) -> bool:
        """Every mirror shows the present."""
        return all(mirror.fresh for mirror in self.mirrors)

    def _judge(self, aim: Aim) -> tuple[Outcome, float]:
        """The outcome now, and after how many seconds to look again though nothing changed."""
        if not self.seeing:
            # How long a trouble has lasted is not known of a time in which nobody looked.
            self._since = {}
            return Going("waiting for the API server"), math.inf
        now = asyncio.get_running_loop().time()
        ages = {key: now - since for key, since in self._since.items()}
        outcome = rollout_verdict(aim, self.view, ages)
        if not isinstance(outcome, Going):
            return outcome, math.inf
        self._since = {symptom.key: self._since.get(symptom.key, now) for symptom in outcome.waiting}
        ripening = [since + aim.patience - now for since in self._since.values()]
        return outcome, min((left + 0.01 for left in ripening if left > 0), default=math.inf)

    async def _next(self, seconds: float | None) -> None:
        """Wait for a change, or so long."""
        for mirror in self.mirrors:
            if mirror.failure is not None:
                raise mirror.failure
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()


@asynccontextmanager
async def following(cluster: Cluster, app: App, deployment: Json) -> AsyncIterator[Follower]:
    """Watch the app's Deployment, its ReplicaSets, pods and their events inside the block."""
    follower = Follower(cluster, app, selector_of(deployment))
    async with watching(*follower.mirrors):
        yield follower


def _ended(outcome: Failed | Overtaken) -> DeploydError:
    if isinstance(outcome, Overtaken):
        return RolloutEnded(outcome.reason, ours=False)
    return RolloutEnded(outcome.reason, ours=True, symptom=outcome.symptom)

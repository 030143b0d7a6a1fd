"""Follows one rollout: watches its objects, and judges it again at every change until it ends.

Measures how long each symptom lasts, and limits how long a rollout may make no progress. Judges only while all objects are up
to date, so that old data cannot fail a rollout after the API server was away.
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
from deployd.targets.kubernetes.informer import Informer, running
from deployd.targets.kubernetes.symptoms import Symptom, is_ready, of_pod, restarts_of, worst_symptom
from deployd.targets.kubernetes.verdict import (
    Aim,
    Complete,
    Failed,
    Outcome,
    Progressing,
    TakenOver,
    View,
    bake_verdict,
    is_empty,
    new_pods,
    pods_of,
    rollout_verdict,
)


class RolloutEnded(RolloutFailed):
    """A rollout failed. `ours` is False when somebody else took the Deployment over; it must then be left alone."""

    def __init__(self, reason: str, *, ours: bool, symptom: Symptom | None = None, hint: str = "") -> None:
        super().__init__(reason, hint=hint)
        self.ours = ours
        self.symptom = symptom


class Follower:
    """Follows one Deployment; `following` makes it."""

    def __init__(self, cluster: Cluster, app: App, labels: str) -> None:
        self._woken = asyncio.Event()
        _, name = manifests.names(app)
        self.informers = [
            Informer(
                cluster,
                manifests.collection(app, "deployments"),
                self._woken.set,
                fieldSelector=f"metadata.name={name}",
            ),
            Informer(cluster, manifests.collection(app, "replicasets"), self._woken.set, labelSelector=labels),
            Informer(cluster, manifests.collection(app, "pods"), self._woken.set, labelSelector=labels),
            Informer(
                cluster, manifests.collection(app, "events"), self._woken.set, fieldSelector="involvedObject.kind=Pod"
            ),
        ]
        self._deployments, self._replica_sets, self._pods, self._events = self.informers
        self._since: dict[tuple[str, str], float] = {}

    @property
    def view(self) -> View:
        """The present objects."""
        return View(
            next(iter(self._deployments.objects.values()), None),
            list(self._replica_sets.objects.values()),
            list(self._pods.objects.values()),
            list(self._events.objects.values()),
        )

    async def complete(
        self, aim: Aim, limit: float, tell: Callable[[str], Awaitable[None]], pods: int | None = None
    ) -> None:
        """Return when the rollout is complete, or has that many new pods that are ready; RolloutEnded when it fails.

        `limit`: the seconds without any progress after which it fails, whatever the cluster says.
        """
        moved, told, said = asyncio.get_running_loop().time(), "", set[str]()
        while True:
            outcome, wait = self._judge(aim)
            text = outcome.text if isinstance(outcome, (Progressing, Complete)) else told
            if text != told:
                moved, told = asyncio.get_running_loop().time(), text
                await tell(text)
                continue  # another waiter may have consumed a change meanwhile: judge again before waiting
            if (why := _unplaced(outcome)) and (word := why.partition(":")[0]) not in said:
                said.add(word)
                await tell(f"no node yet: {why}")  # that can last, and nothing else moves meanwhile
                continue
            match outcome:
                case Complete():
                    return
                case Progressing() if pods is not None and self._has(aim, pods):
                    return
                case Failed() | TakenOver():
                    raise _ended(outcome)
                case Progressing():
                    left = moved + limit - asyncio.get_running_loop().time()
                    self._require_progress(outcome, left, limit)
                    await self._next(min(left, wait) if self._fresh else None)
                case _:
                    assert_never(outcome)

    async def candidate(self, aim: Aim, *, youngest: bool = False) -> Json | None:
        """The first new pod, or the youngest, that runs and has an address; None when the rollout is complete with no
        replicas."""
        while True:
            if self._fresh and is_empty(self.view, aim):
                return None
            pods = new_pods(self.view, aim)
            if youngest:
                pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
            for pod in pods:
                status = pod.get("status", {})
                if status.get("podIP") and status.get("phase") == "Running":
                    return pod
            await self._next(None)

    def ready(self, aim: Aim, image: str) -> Json | None:
        """A ready pod of an earlier release with that image; None when there is none."""
        return next(filter(is_ready, pods_of(self.view, aim.container, image, present=False)), None)

    def worst(self, aim: Aim) -> Symptom | None:
        """The worst symptom of the new pods now."""
        return worst_symptom([symptom for pod in new_pods(self.view, aim) for symptom in of_pod(pod, self.view.events)])

    async def gone(self, pod: Json) -> None:
        """Return when the pod is gone or is being deleted."""
        uid = pod["metadata"]["uid"]
        while (now := self._pods.objects.get(uid)) and not now["metadata"].get("deletionTimestamp"):
            await self._next(None)

    def shares(self, aim: Aim) -> tuple[int, int]:
        """How many new pods are ready now, and how many pods in all."""
        new = [pod for pod in new_pods(self.view, aim) if is_ready(pod)]
        ready = [pod for pod in self.view.pods if is_ready(pod) and not pod["metadata"].get("deletionTimestamp")]
        return len(new), len(ready)

    async def bake(self, aim: Aim, seconds: float, settled: dict[str, int] | None = None) -> None:
        """Watch for `seconds` after completion; RolloutEnded when a pod that was ready fails. Time without fresh data does not
        count. `settled`: the restarts of the pods that were ready before, by uid; those that are ready now are added."""
        loop = asyncio.get_running_loop()
        left = seconds
        settled = settled if settled is not None else {}
        for pod in new_pods(self.view, aim):
            if is_ready(pod):
                settled.setdefault(pod["metadata"]["uid"], restarts_of(pod))
        while True:
            if fresh := self._fresh:
                if bad := bake_verdict(self.view, aim, settled):
                    raise _ended(bad)
                if left <= 0:
                    return
            since = loop.time()
            await self._next(left if fresh else None)
            left -= loop.time() - since if fresh else 0.0

    @property
    def _fresh(self) -> bool:
        """Whether all objects are up to date."""
        return all(informer.fresh for informer in self.informers)

    def _require_progress(self, outcome: Progressing, left: float, limit: float) -> None:
        """RolloutEnded when no time is `left` of the `limit` without progress."""
        if left <= 0 and self._fresh:
            worst = next(iter(outcome.symptoms), None)
            because = f"; {worst.reason}" if worst else ""
            raise _ended(Failed(f"no progress for {limit:.0f} s: {outcome.text}{because}", worst))

    def _has(self, aim: Aim, pods: int) -> bool:
        """Whether so many new pods are ready, or as many as replicas are wanted when those are fewer."""
        deployment = self.view.deployment
        wanted = deployment["spec"].get("replicas", 1) if deployment is not None else pods
        return self._fresh and self.shares(aim)[0] >= min(pods, wanted)

    def _judge(self, aim: Aim) -> tuple[Outcome, float]:
        """The outcome now, and after how many seconds to judge again even without a change."""
        if not self._fresh:
            # Without fresh data nobody knows whether a symptom lasts.
            self._since = {}
            return Progressing("waiting for the API server"), math.inf
        now = asyncio.get_running_loop().time()
        ages = {key: now - since for key, since in self._since.items()}
        outcome = rollout_verdict(aim, self.view, ages)
        if not isinstance(outcome, Progressing):
            return outcome, math.inf
        self._since = {symptom.key: self._since.get(symptom.key, now) for symptom in outcome.symptoms}
        remaining = [since + aim.patience - now for since in self._since.values()]
        return outcome, min((left + 0.01 for left in remaining if left > 0), default=math.inf)

    async def _next(self, seconds: float | None) -> None:
        """Wait for a change, at most `seconds`."""
        for informer in self.informers:
            if informer.failure is not None:
                raise informer.failure
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()


@asynccontextmanager
async def following(cluster: Cluster, app: App, deployment: Json) -> AsyncIterator[Follower]:
    """Watch the app's Deployment, its ReplicaSets and pods, and their events, inside the block."""
    follower = Follower(cluster, app, selector_of(deployment))
    async with running(*follower.informers):
        yield follower


def _unplaced(outcome: Outcome) -> str:
    """Why a new pod has no node yet; empty when each has one."""
    symptoms = outcome.symptoms if isinstance(outcome, Progressing) else ()
    return next((symptom.reason for symptom in symptoms if symptom.key[1] == "schedule"), "")


def _ended(outcome: Failed | TakenOver) -> DeploydError:
    if isinstance(outcome, TakenOver):
        return RolloutEnded(outcome.reason, ours=False)
    return RolloutEnded(outcome.reason, ours=True, symptom=outcome.symptom)

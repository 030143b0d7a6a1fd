"""A canary on a cluster: a few new pods beside all the old ones, more with each step, judged by the state of the pods.

The Service spreads connections over all ready pods, so the share is that of the pods. All old pods stay until the canary has
ended well: the way back starts none. After a crash of deployd the rollout stays at its limit, until a restore removes it.
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy, GateResult, Verdict
from deployd.errors import RolloutFailed
from deployd.ports.target import Progress
from deployd.targets.kubernetes import pace
from deployd.targets.kubernetes.client import Json
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.follow import Follower, RolloutEnded
from deployd.targets.kubernetes.pod_gates import PodGates
from deployd.targets.kubernetes.releases import Release
from deployd.targets.kubernetes.verdict import Aim, image_of
from deployd.tasks import first, together

NAME = "canary"

_UNJUDGED = "errors and durations of requests are not judged on a cluster"


def first_pods(
    deployment: AppDeployment, release: Release, deploy: Deploy, found: Json, would: Json | None
) -> int | None:
    """How many new pods the canary of `release` begins with; None when it has none. RolloutFailed when it cannot have one.

    `would`: the Deployment as the API server would make it; None when it does not tell."""
    weights, replicas = deployment.app.gateway.weights, found["spec"].get("replicas", 1)
    if len(weights) < 2 or deploy.rollback_to is not None or not replicas:
        return None
    if not deployment.settings.create:
        pace.require_rolling(found)
    return pace.share_of(weights[0], replicas) if _starts_pods(release, found, would) else None


def _starts_pods(release: Release, found: Json, would: Json | None) -> bool:
    """Whether `release` needs other pods than those that serve, as the API server itself compares their templates."""
    if pace.is_limited(found) or image_of(found["spec"]["template"], release.container) != release.image:
        return True
    return release.template is not None and (would is None or would["spec"]["template"] != found["spec"]["template"])


class Canary:
    """One canary of `release` beside `good`. Use once. `limit`: the seconds without progress after which a step fails."""

    def __init__(
        self,
        deployment: AppDeployment,
        deploy: Deploy,
        progress: Progress,
        release: Release,
        good: Release | None,
        *,
        limit: float,
    ) -> None:
        self._deployment = deployment
        self._app: App = deployment.app
        self._deploy = deploy
        self._progress = progress
        self._release = release
        self._good = good
        self._limit = limit
        self._settled: dict[str, int] = {}
        self._shares: list[str] = []  # of the steps that have begun, for a person
        self._figures: dict[str, Any] = {}

    async def run(self, follower: Follower, gates: PodGates, applied: Json, aim: Aim, pods: int) -> tuple[Json, Aim]:
        """All steps but the last, which is the rest of the rollout; the Deployment and the aim then. `applied` is limited to
        `pods` new pods. RolloutFailed when a gate refuses one, or one restarts or is not ready any more."""
        for percent in self._app.gateway.weights[:-1]:
            replicas = (follower.view.deployment or applied)["spec"].get("replicas", 1)
            wanted = pace.share_of(percent, replicas) if self._shares else pods
            if wanted != pods:
                pods = wanted
                applied = await self._deployment.go_on(applied, self._release, self._deploy, self._good, pods)
                aim = replace(aim, generation=applied["metadata"]["generation"])
            await self._reach(follower, gates, aim, pods)
            await self._hold(follower, gates, aim, percent)
        return applied, aim

    @asynccontextmanager
    async def recorded(self) -> AsyncIterator[None]:
        """Record the verdict after the block, in which a bad release also goes back: a full disk delays the record. A failure
        after the first step has begun counts as refused by the canary."""
        try:
            yield
        except RolloutEnded as ended:
            if not ended.ours or not self._shares:  # it is somebody else's, or no step had begun
                raise
            detail = f"at {self._shares[-1]}: {ended.message}"
            await self._record("failed", detail)
            message = f"the canary refused it {detail}"
            raise RolloutEnded(message, ours=True, symptom=ended.symptom, hint=ended.hint) from ended
        except RolloutFailed as refused:  # by a gate, which says so itself
            if self._shares:
                await self._record("failed", f"at {self._shares[-1]}: {refused.message}")
            raise
        await self._record("passed", f"{'; '.join(self._shares)}; {_UNJUDGED}")

    async def _reach(self, follower: Follower, gates: PodGates, aim: Aim, pods: int) -> None:
        """Wait until so many new pods are ready. The first of all must pass the gates before the first step begins."""
        ready = follower.complete(aim, self._limit, partial(self._progress.tell, NAME), pods)
        if not self._shares:
            await together(ready, gates.ask(aim, self._progress.prove))
        else:
            await first(ready, follower.bake(aim, math.inf, self._settled))

    async def _hold(self, follower: Follower, gates: PodGates, aim: Aim, percent: int) -> None:
        """Watch the pods for a step, then ask the gates again, of the youngest."""
        new, of = follower.shares(aim)
        share = round(100 * new / of, 1) if of else 0.0
        self._figures = {"asked_percent": percent, "percent": share, "new_pods": new, "pods": of}
        self._shares.append(pace.told(percent, new, of))
        await self._progress.tell(NAME, self._shares[-1])
        await follower.bake(aim, self._app.gateway.step, self._settled)
        again = gates.ask(aim, self._progress.prove_again, youngest=True)
        await first(again, follower.bake(aim, math.inf, self._settled))

    async def _record(self, verdict: Verdict, detail: str) -> None:
        await self._progress.judged(GateResult(NAME, verdict, detail, self._figures, moment="canary"))

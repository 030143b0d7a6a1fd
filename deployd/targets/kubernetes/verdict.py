"""The state of a rollout, judged from the JSON of a Deployment, its ReplicaSets, its pods and their events. Pure.

First checks that nobody else has changed the Deployment, then in kubectl's order: observed, deadline, updated, old, available. It
fails early when the pods show that waiting is pointless. Knows no clock: the ages of symptoms come from the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployd.targets.kubernetes.pace import keeps_old_pods
from deployd.targets.kubernetes.symptoms import (
    MANY_RESTARTS,
    Json,
    Severity,
    Symptom,
    condition_of,
    is_ready,
    of_creation,
    of_pod,
    restarts_of,
    worst_symptom,
)

REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, slots=True)
class Aim:
    """The aim of a rollout: `container` of the Deployment runs `image`.

    `generation`, `uid` and `template` are from the answer to the patch. `stale` is the lastUpdateTime of a
    ProgressDeadlineExceeded from before the patch: with that time, it belongs to an older rollout. `patience` is in seconds.
    `limited`: a canary limits the rollout.
    """

    container: str
    image: str
    generation: int
    uid: str
    template: Json
    stale: str | None
    patience: float
    limited: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """A Deployment and its objects at one moment; None when it is gone."""

    deployment: Json | None
    replica_sets: Sequence[Json] = ()
    pods: Sequence[Json] = ()
    events: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class Progressing:
    """Not complete yet. `symptoms` are those that may become fatal with age."""

    text: str
    symptoms: tuple[Symptom, ...] = ()


@dataclass(frozen=True, slots=True)
class Complete:
    """Every replica is new and available, and no old one is left."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not be complete; `symptom` is the cause, when a pod shows one."""

    reason: str
    symptom: Symptom | None = None


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Somebody else changed, paused or deleted the Deployment."""

    reason: str


Outcome = Progressing | Complete | Failed | TakenOver


def rollout_verdict(aim: Aim, view: View, ages: Mapping[tuple[str, str], float]) -> Outcome:
    """`ages`: for how many seconds each symptom (by its key) has been present."""
    deployment = view.deployment
    if deployment is None:
        return TakenOver("the Deployment was deleted")
    if deployment["metadata"]["uid"] != aim.uid:
        return TakenOver(f"the Deployment was deleted and created again{_by(deployment)}")
    if deployment["metadata"].get("generation", 0) < aim.generation:
        return Progressing("waiting to see the patch")
    if changed := _taken_over(aim, deployment) or _let_go(aim, deployment):
        return changed
    if deployment["metadata"]["generation"] > deployment.get("status", {}).get("observedGeneration", 0):
        return Progressing("waiting for the controller to see the patch")
    return _outcome(aim, view, deployment, ages)


def bake_verdict(view: View, aim: Aim, settled: Mapping[str, int]) -> Failed | TakenOver | None:
    """Whether a complete rollout has failed since. `settled`: uid -> restarts of the pods that were ready when it completed."""
    if view.deployment is None:
        return TakenOver("the Deployment was deleted")
    if changed := _taken_over(aim, view.deployment) or _let_go(aim, view.deployment):
        return changed
    for pod in view.pods:
        before = settled.get(pod["metadata"]["uid"])
        if before is None or pod["metadata"].get("deletionTimestamp"):
            continue
        symptom = next(iter(of_pod(pod, view.events)), None)
        if restarts_of(pod) > before:
            return Failed(f"a pod restarted soon after it was ready{_because([symptom] if symptom else [])}", symptom)
        if not is_ready(pod):
            return Failed(
                f"pod {pod['metadata']['name']} stopped being ready{_because([symptom] if symptom else [])}", symptom
            )
    return None


def complete(deployment: Json) -> bool:
    """Whether `kubectl rollout status` would report success."""
    observed = deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(observed and not _unfinished(deployment))


def is_empty(view: View, aim: Aim) -> bool:
    """Whether the rollout is complete with no replicas, so that there is no pod to check."""
    found = view.deployment
    if found is None or found["metadata"].get("generation", 0) < aim.generation:
        return False
    return bool(found["spec"].get("replicas", 1) == 0 and complete(found))


def timed_out(deployment: Json, stale: str | None) -> bool:
    """Whether the deadline of this rollout has passed, not of the one before."""
    condition = condition_of(deployment, "Progressing")
    return condition.get("reason") == "ProgressDeadlineExceeded" and condition.get("lastUpdateTime") != stale


def stale_deadline(deployment: Json) -> str | None:
    """When the deadline of the rollout before passed; None when it did not."""
    condition = condition_of(deployment, "Progressing")
    return condition.get("lastUpdateTime") if condition.get("reason") == "ProgressDeadlineExceeded" else None


def counts(deployment: Json) -> str:
    """`2 of 4 updated, 1 available, 2 old`."""
    status = deployment.get("status", {})
    wanted, updated = deployment["spec"].get("replicas", 1), status.get("updatedReplicas", 0)
    old = status.get("replicas", 0) - updated
    return f"{updated} of {wanted} updated, {_available(deployment)} available" + (f", {old} old" if old > 0 else "")


def new_pods(view: View, aim: Aim) -> list[Json]:
    """The pods of the present template that are not being deleted."""
    return pods_of(view, aim.container, aim.image, present=True)


def pods_of(view: View, container: str, image: str, *, present: bool) -> list[Json]:
    """The pods of the Deployment that were made to run `image` and are not being deleted: of its `present` template, or of all
    before. By their ReplicaSets: a webhook may name a mirror in a pod itself."""
    if view.deployment is None:
        return []
    revision = _revision(view.deployment)
    owners = [
        owner
        for owner in view.replica_sets
        if _controlled_by(owner, view.deployment)
        and image_of(owner["spec"]["template"], container) == image
        and (_revision(owner) == revision) is present
    ]
    return [
        pod
        for pod in view.pods
        if not pod["metadata"].get("deletionTimestamp") and any(_controlled_by(pod, owner) for owner in owners)
    ]


def image_of(template: Json, container: str) -> str | None:
    """The image of `container` in a pod template; None when there is no such container."""
    return next((item.get("image") for item in template["spec"]["containers"] if item["name"] == container), None)


def _outcome(aim: Aim, view: View, deployment: Json, ages: Mapping[tuple[str, str], float]) -> Outcome:
    pods = new_pods(view, aim)
    symptoms = [symptom for pod in pods for symptom in of_pod(pod, view.events)]
    if timed_out(deployment, aim.stale):
        return Failed(
            f"the progress deadline has passed: {counts(deployment)}{_because(symptoms)}", worst_symptom(symptoms)
        )
    if text := _unfinished(deployment):
        symptoms = [*of_creation(deployment), *symptoms]
        return _early_failure(aim, symptoms, pods, ages) or Progressing(text, tuple(symptoms))
    return Complete(counts(deployment))


def _taken_over(aim: Aim, deployment: Json) -> TakenOver | None:
    template = deployment["spec"]["template"]
    image = image_of(template, aim.container)
    if image != aim.image:
        return TakenOver(f"somebody else changed the image to {image}{_by(deployment)}")
    if template != aim.template:
        return TakenOver(f"somebody else changed the pod template{_by(deployment)}")
    if deployment["spec"].get("paused"):
        return TakenOver(f"somebody paused the Deployment{_by(deployment)}")
    return None


def _let_go(aim: Aim, deployment: Json) -> Failed | None:
    """When somebody else let a canary's rollout go on: the pods are ours and unproven, so it goes back."""
    if aim.limited and not keeps_old_pods(deployment):
        return Failed(f"somebody else changed the strategy or minReadySeconds in the canary{_by(deployment)}")
    return None


def _by(deployment: Json) -> str:
    fields = deployment["metadata"].get("managedFields", [])
    others = [entry for entry in fields if not entry.get("manager", "").startswith(("deployd", "kube-controller"))]
    last = max(others, key=lambda entry: entry.get("time", ""), default=None)
    return f" (last changed by {last['manager']})" if last else ""


def _unfinished(deployment: Json) -> str | None:
    """The counts while the rollout is not complete, else None."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    if updated < wanted or status.get("replicas", 0) > updated or _available(deployment) < updated:
        return counts(deployment)
    return None


def _available(deployment: Json) -> int:
    return int(deployment.get("status", {}).get("availableReplicas", 0))


def _early_failure(
    aim: Aim, symptoms: Sequence[Symptom], pods: Sequence[Json], ages: Mapping[tuple[str, str], float]
) -> Failed | None:
    fatal = [symptom for symptom in symptoms if _is_fatal(symptom, ages.get(symptom.key, 0.0), aim.patience)]
    for symptom in fatal:
        if symptom.kind is Severity.PERMANENT or not symptom.pod:
            return Failed(_with_pod(symptom), symptom)
    # If only some new pods fail, their node may be the cause; if all do, it is the release.
    if fatal and not any(is_ready(pod) for pod in pods) and {symptom.pod for symptom in fatal} == _names(pods):
        return Failed(_with_pod(fatal[0]), fatal[0])
    return None


def _is_fatal(symptom: Symptom, age: float, patience: float) -> bool:
    match symptom.kind:
        case Severity.PERMANENT:
            return True
        case Severity.SUSPICIOUS:
            return symptom.down and (age >= patience or symptom.restarts >= MANY_RESTARTS)
        case Severity.TRANSIENT:
            return False


def _with_pod(symptom: Symptom) -> str:
    return f"{symptom.reason} (pod {symptom.pod})" if symptom.pod else symptom.reason


def _because(symptoms: Sequence[Symptom]) -> str:
    worst = worst_symptom(symptoms)
    return f"; {_with_pod(worst)}" if worst else ""


def _names(pods: Sequence[Json]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


def _revision(item: Json) -> str | None:
    revision: str | None = item["metadata"].get("annotations", {}).get(REVISION)
    return revision


def _controlled_by(item: Json, owner: Json) -> bool:
    references = item["metadata"].get("ownerReferences", [])
    return any(reference["uid"] == owner["metadata"]["uid"] for reference in references)

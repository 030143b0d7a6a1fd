"""How a rollout stands: pure judgement over the JSON of a Deployment, its ReplicaSets, its pods and their events.

Asks in kubectl's order (observed, deadline, updated, old ones, available), and before that whether the Deployment is still
ours; then gives up early where the pods show that waiting is pointless. Knows no clock: ages come from the caller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployd.targets.kubernetes.symptoms import (
    MANY_RESTARTS,
    Class,
    Json,
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
    """What a rollout should come to: `container` of the Deployment runs `image`.

    `generation`, `uid` and `template` are what the patch's answer said. `stale` is the lastUpdateTime of a
    ProgressDeadlineExceeded that stood there before the patch: until that changes it speaks of an older rollout. `patience`
    is in seconds.
    """

    container: str
    image: str
    generation: int
    uid: str
    template: Json
    stale: str | None
    patience: float


@dataclass(frozen=True, slots=True)
class View:
    """What is seen of a Deployment at one moment; None when it is gone."""

    deployment: Json | None
    replica_sets: Sequence[Json] = ()
    pods: Sequence[Json] = ()
    events: Sequence[Json] = ()


@dataclass(frozen=True, slots=True)
class Going:
    """Not there yet. `waiting` are the troubles that may become fatal with age."""

    text: str
    waiting: tuple[Symptom, ...] = ()


@dataclass(frozen=True, slots=True)
class Complete:
    """Every replica is new and available, and no old one is left."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not come to the aim; `symptom` is the pod to look at, when there is one."""

    reason: str
    symptom: Symptom | None = None


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Somebody else changed, paused or deleted the Deployment: theirs now."""

    reason: str


Outcome = Going | Complete | Failed | Overtaken


def rollout_verdict(aim: Aim, view: View, ages: Mapping[tuple[str, str], float]) -> Outcome:
    """`ages` says for how many seconds each symptom (by its key) has been seen."""
    deployment = view.deployment
    if deployment is None:
        return Overtaken("the Deployment was deleted")
    if deployment["metadata"]["uid"] != aim.uid:
        return Overtaken(f"the Deployment was deleted, and another made in its place{_by(deployment)}")
    if deployment["metadata"].get("generation", 0) < aim.generation:
        return Going("waiting to see the patch")
    if foreign := _foreign(aim, deployment):
        return foreign
    if deployment["metadata"]["generation"] > deployment.get("status", {}).get("observedGeneration", 0):
        return Going("waiting for the controller to see the patch")
    return _judged(aim, view, deployment, ages)


def bake_verdict(view: View, aim: Aim, settled: Mapping[str, int]) -> Failed | Overtaken | None:
    """Whether a complete rollout has gone bad. `settled` holds uid -> restarts of the pods that were ready when it completed."""
    if view.deployment is None:
        return Overtaken("the Deployment was deleted")
    if foreign := _foreign(aim, view.deployment):
        return foreign
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
    """What `kubectl rollout status` calls successfully rolled out."""
    observed = deployment.get("status", {}).get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return bool(observed and not _unfinished(deployment))


def is_empty(view: View, aim: Aim) -> bool:
    """The rollout is complete because no replicas are wanted: there is no pod that could prove anything."""
    found = view.deployment
    if found is None or found["metadata"].get("generation", 0) < aim.generation:
        return False
    return bool(found["spec"].get("replicas", 1) == 0 and complete(found))


def timed_out(deployment: Json, stale: str | None) -> bool:
    """The controller gave up on this rollout, not on the one before."""
    condition = condition_of(deployment, "Progressing")
    return condition.get("reason") == "ProgressDeadlineExceeded" and condition.get("lastUpdateTime") != stale


def stale_deadline(deployment: Json) -> str | None:
    """When the controller gave up on what the Deployment held before, if it did."""
    condition = condition_of(deployment, "Progressing")
    return condition.get("lastUpdateTime") if condition.get("reason") == "ProgressDeadlineExceeded" else None


def counts(deployment: Json) -> str:
    """`2 of 4 updated, 1 available, 2 old`."""
    status = deployment.get("status", {})
    wanted, updated = deployment["spec"].get("replicas", 1), status.get("updatedReplicas", 0)
    old = status.get("replicas", 0) - updated
    return f"{updated} of {wanted} updated, {_available(deployment)} available" + (f", {old} old" if old > 0 else "")


def new_replica_set(view: View, aim: Aim) -> Json | None:
    """The ReplicaSet of the present template: the controlled one with the Deployment's revision and our image."""
    if view.deployment is None:
        return None
    revision = view.deployment["metadata"].get("annotations", {}).get(REVISION)
    for candidate in view.replica_sets:
        if (
            _controlled_by(candidate, view.deployment)
            and candidate["metadata"].get("annotations", {}).get(REVISION) == revision
            and image_of(candidate["spec"]["template"], aim.container) == aim.image
        ):
            return candidate
    return None


def new_pods(view: View, aim: Aim) -> list[Json]:
    """The pods of the new ReplicaSet that are not on their way out."""
    owner = new_replica_set(view, aim)
    if owner is None:
        return []
    return [pod for pod in view.pods if _controlled_by(pod, owner) and not pod["metadata"].get("deletionTimestamp")]


def image_of(template: Json, container: str) -> str | None:
    """What the named container of a pod template runs, None when there is no such container."""
    return next((item.get("image") for item in template["spec"]["containers"] if item["name"] == container), None)


def _judged(aim: Aim, view: View, deployment: Json, ages: Mapping[tuple[str, str], float]) -> Outcome:
    pods = new_pods(view, aim)
    symptoms = [symptom for pod in pods for symptom in of_pod(pod, view.events)]
    if timed_out(deployment, aim.stale):
        return Failed(
            f"the progress deadline has passed: {counts(deployment)}{_because(symptoms)}", worst_symptom(symptoms)
        )
    if text := _unfinished(deployment):
        symptoms = [*of_creation(deployment), *symptoms]
        return _early(aim, symptoms, pods, ages) or Going(text, tuple(symptoms))
    return Complete(counts(deployment))


def _foreign(aim: Aim, deployment: Json) -> Overtaken | None:
    template = deployment["spec"]["template"]
    image = image_of(template, aim.container)
    if image != aim.image:
        return Overtaken(f"somebody else changed the image to {image}{_by(deployment)}")
    if template != aim.template:
        return Overtaken(f"somebody else changed the pod template{_by(deployment)}")
    if deployment["spec"].get("paused"):
        return Overtaken(f"somebody paused the Deployment{_by(deployment)}")
    return None


def _by(deployment: Json) -> str:
    fields = deployment["metadata"].get("managedFields", [])
    others = [entry for entry in fields if not entry.get("manager", "").startswith(("deployd", "kube-controller"))]
    last = max(others, key=lambda entry: entry.get("time", ""), default=None)
    return f" (last other writer: {last['manager']})" if last else ""


def _unfinished(deployment: Json) -> str | None:
    """What is still missing, None when nothing is."""
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    updated = status.get("updatedReplicas", 0)
    if updated < wanted or status.get("replicas", 0) > updated or _available(deployment) < updated:
        return counts(deployment)
    return None


def _available(deployment: Json) -> int:
    return int(deployment.get("status", {}).get("availableReplicas", 0))


def _early(
    aim: Aim, symptoms: Sequence[Symptom], pods: Sequence[Json], ages: Mapping[tuple[str, str], float]
) -> Failed | None:
    doomed = [symptom for symptom in symptoms if _fatal(symptom, ages.get(symptom.key, 0.0), aim.patience)]
    for symptom in doomed:
        if symptom.kind is Class.PERMANENT or not symptom.pod:
            return Failed(_named(symptom), symptom)
    # A pod alone in trouble may stand on a bad node; when none of the new ones is well, it is the release.
    if doomed and not any(is_ready(pod) for pod in pods) and {symptom.pod for symptom in doomed} == _names(pods):
        return Failed(_named(doomed[0]), doomed[0])
    return None


def _fatal(symptom: Symptom, age: float, patience: float) -> bool:
    match symptom.kind:
        case Class.PERMANENT:
            return True
        case Class.SUSPICIOUS:
            return symptom.down and (age >= patience or symptom.restarts >= MANY_RESTARTS)
        case Class.TRANSIENT:
            return False


def _named(symptom: Symptom) -> str:
    return f"{symptom.reason} (pod {symptom.pod})" if symptom.pod else symptom.reason


def _because(symptoms: Sequence[Symptom]) -> str:
    worst = worst_symptom(symptoms)
    return f"; {_named(worst)}" if worst else ""


def _names(pods: Sequence[Json]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


def _controlled_by(item: Json, owner: Json) -> bool:
    references = item["metadata"].get("ownerReferences", [])
    return any(reference["uid"] == owner["metadata"]["uid"] for reference in references)

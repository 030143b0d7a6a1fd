"""Lost races: when a write was refused because somebody else had changed the Deployment meanwhile, and when for its content.

The API server gives a failed `test` of a JSON Patch the status of an invalid object, and a policy may choose that status too.
So they are told apart by reading the Deployment again.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from deployd.errors import Unavailable
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.companions import PATIENT_S
from deployd.targets.kubernetes.manifests import DEPLOY, Json
from deployd.targets.kubernetes.others import annotations_of

RACES = 10
_T = TypeVar("_T")


def may_be_lost(refused: Refused) -> bool:
    """Whether the refusal may be that of a lost race."""
    return refused.status in {409, 422} and not refused.denied


def same(found: Json | None, now: Json | None) -> bool:
    """Whether a Deployment asks for the same as before, and for the same release. Replicas are changed by autoscalers."""
    return _asked(found) == _asked(now)


async def raced(cluster: Cluster, path: str, write: Callable[[Json | None], Awaitable[_T]]) -> _T:
    """Do a write that depends on the Deployment's present state; try again when that has changed meanwhile, most likely only its
    status."""
    for _ in range(RACES):
        found = await cluster.find(path, within=PATIENT_S)
        try:
            return await write(found)
        except Refused as refused:
            if not may_be_lost(refused):
                raise
            if refused.status == 422 and same(found, await cluster.find(path, within=PATIENT_S)):
                raise
    raise too_fast(path)


def too_fast(path: str) -> Unavailable:
    """The error when every try has lost."""
    return Unavailable(f"Deployment {path.rpartition('/')[2]} changes too fast to be patched")


def _asked(found: Json | None) -> tuple[object, ...]:
    if found is None:
        return ()
    spec = {key: value for key, value in found["spec"].items() if key != "replicas"}
    return found["metadata"].get("uid"), annotations_of(found).get(DEPLOY), spec

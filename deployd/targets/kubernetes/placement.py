"""Putting a release into an app's Deployment, and only if it is ours to change.

Two ways, one face. A Deployment of deployd's making is applied whole, with its Service and autoscaler; somebody else's is
only given an image, by compare-and-set. Owns what the cluster is asked to hold; waits for nothing.
"""

import copy
import logging
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.errors import RolloutFailed, Unavailable
from deployd.targets.kubernetes import adoption, manifests
from deployd.targets.kubernetes.client import Cluster, Refused
from deployd.targets.kubernetes.follow import RolloutEnded
from deployd.targets.kubernetes.manifests import COMMIT, DEPLOY, IMAGE, INSTANCE, LAST_GOOD, REPLICAS, Json, Offers
from deployd.targets.kubernetes.releases import Place, Release
from deployd.targets.kubernetes.verdict import complete, image_of

logger = logging.getLogger(__name__)

# An API server that restarts is away for so long.
PATIENT_S = 60.0
_RACES = 10


class Placement:
    """An app's Deployment on its cluster, as this deployd (`instance`) may touch it."""

    def __init__(self, cluster: Cluster, app: App, instance: str) -> None:
        self.cluster = cluster
        self.app = app
        self.settings = manifests.settings_of(app)
        self._instance = instance
        self.path = manifests.path(app)

    @property
    def place(self) -> Place:
        """Where it is, to find it again without the config."""
        namespace, name = manifests.names(self.app)
        return Place(self.settings.kubeconfig, self.settings.context, namespace, name, self.settings.create)

    async def examine(self) -> tuple[Json | None, list[str]]:
        """The Deployment as it is and what to warn of; RolloutFailed when it must not or cannot be changed."""
        found = await self.cluster.find(self.path)
        if self.settings.create:
            await self._refuse_strangers()
        if found is None:
            if self.settings.create:
                return None, []
            raise RolloutFailed(
                f"there is no Deployment {self._name}", hint="create it, or set create = true in [app.kubernetes]"
            )
        if found["spec"].get("paused"):
            raise RolloutFailed(f"Deployment {self._name} is paused", hint="kubectl rollout resume, then deploy again")
        if not self.settings.create:
            container = adoption.pick_container(found, self.settings.container)
            return found, [*self._overridden(found, container), *adoption.warnings(found, container)]
        self._refuse_stranger("Deployment", found, "set create = false to only feed it with images")
        return found, self._overridden(found, manifests.container_name(self.app))

    def container_of(self, found: Json | None) -> str:
        """The container that runs the app."""
        if self.settings.create or found is None:
            return manifests.container_name(self.app)
        return adoption.pick_container(found, self.settings.container)

    async def plan(self, deploy: Deploy, image: Image, found: Json | None) -> Release:
        """The release that makes `image` serve with the present config."""
        template = None
        if self.settings.create:
            template = manifests.template(self.app, image, self._instance, await self._offers())
        return Release(deploy.number, deploy.commit, self.container_of(found), image.reference, template)

    def present(self, found: Json, deploy: Deploy | None) -> Release | None:
        """What a Deployment holds that is good as far as it says itself: for one that deployd takes over, and for a deployd
        that lost its state. None when it holds nothing but the half-made `deploy`."""
        container, marks = self.container_of(found), _marks(found)
        template: Json = copy.deepcopy(found["spec"]["template"])
        number, image = int(marks.get(DEPLOY) or 0), image_of(template, container) or ""
        half_made = deploy is not None and number == deploy.number
        if number and (half_made or not complete(found)):
            good, _, image = marks.get(LAST_GOOD, "").partition(" ")
            if not image:
                return None
            number = int(good)
        for item in template["spec"]["containers"]:
            if item["name"] == container:
                item["image"] = image
        kept = template if self.settings.create else None
        return Release(number or None, marks.get(COMMIT, ""), container, image, kept)

    async def put(self, release: Release, deploy: Deploy, found: Json | None, good: Release | None) -> Json:
        """Ask for `release`; the Deployment as the API server answered. `found` is what compare-and-set compares with.

        `good` is the release to go back to: the Deployment names it, for a deployd that lost its state.
        """
        if release.template is None:
            marks = manifests.annotations(deploy, release.image, _named(good))
            try:
                return await self._set_image(release, marks, found)
            except Refused as refused:
                if refused.status not in {409, 422}:
                    raise
                return await self._landed(release, deploy, refused)
        manifest = manifests.deployment(self.app, deploy, release.template, self._instance, _named(good))
        placed = await self._apply(self.path, manifest)
        placed = await self._scaled(placed, found)
        await self._apply_around()
        return placed

    def is_foreign(self, found: Json, container: str) -> bool:
        """The Deployment runs an image that deployd did not ask for, or does not bear its marks at all."""
        asked = _marks(found).get(IMAGE)
        return bool(image_of(found["spec"]["template"], container) != asked)

    @staticmethod
    def stands(found: Json, release: Release) -> bool:
        """The Deployment asks for `release`, and not for what a later deploy put there and did not prove."""
        number = _marks(found).get(DEPLOY, "0")
        return bool(
            number == str(release.number or 0)
            and image_of(found["spec"]["template"], release.container) == release.image
        )

    async def put_back(self, release: Release, deploy: Deploy) -> Json | None:
        """Ask for `release` again, unless somebody else has set an image meanwhile: then None."""
        for _ in range(_RACES):
            found = await self.cluster.find(self.path)
            if found is not None and self.is_foreign(found, release.container):
                return None
            try:
                return await self._put_back(release, deploy, found)
            except Refused as refused:
                # Only status moved, most likely: look again.
                if refused.status not in {409, 422}:
                    raise
        raise Unavailable(f"Deployment {self._name} changes faster than it can be put back")

    async def scale(self, replicas: int) -> None:
        """Set the number of replicas, past every field manager."""
        await self.cluster.merge(self.path + "/scale", {"spec": {"replicas": replicas}}, within=PATIENT_S)

    async def delete(self) -> None:
        """Remove the Deployment that a first, failed release left, if it is of our making."""
        found = await self.cluster.find(self.path) if self.settings.create else None
        if found is not None and self._owner(found) == self._instance:
            await self.cluster.delete(self.path)

    @property
    def _name(self) -> str:
        return "/".join(manifests.names(self.app))

    async def _refuse_strangers(self) -> None:
        """A Service or an autoscaler of the name that is not ours would be seized by the apply, and later deleted."""
        wanted = [("Service", manifests.path(self.app, "services"))] if self.settings.service is not None else []
        if self.settings.autoscale is not None:
            any_version = manifests.autoscaler_path(self.app, Offers(0, autoscaling_v2=False))
            wanted.append(("HorizontalPodAutoscaler", any_version))
        for kind, path in wanted:
            if (found := await self.cluster.find(path)) is not None:
                self._refuse_stranger(kind, found, "delete or rename it")

    def _refuse_stranger(self, kind: str, found: Json, hint: str) -> None:
        if (owner := self._owner(found)) != self._instance:
            raise RolloutFailed(
                f"{kind} {self._name} is not of this deployd's making ({f'made by {owner}' if owner else 'no label'})",
                hint=f"{hint}, or name another in [app.kubernetes] deployment",
            )

    @staticmethod
    def _owner(found: Json) -> str | None:
        owner: str | None = found["metadata"].get("labels", {}).get(INSTANCE)
        return owner

    def _overridden(self, found: Json, container: str) -> list[str]:
        image = image_of(found["spec"]["template"], container)
        touched = IMAGE in _marks(found)
        return (
            [f"somebody else set the image to {image}: this deploy replaces it"]
            if touched and self.is_foreign(found, container)
            else []
        )

    async def _put_back(self, release: Release, deploy: Deploy, found: Json | None) -> Json:
        if release.template is None:
            marks = manifests.annotations(deploy, release.image, _named(release))
            return await self._set_image(release, marks, found)
        manifest = manifests.deployment(self.app, deploy, release.template, self._instance, _named(release))
        if found is not None:
            manifest["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        placed = await self.cluster.apply(self.path, manifest, force=True, within=PATIENT_S)
        # One that is made anew has a single replica, and so may one whose making was cut short.
        return placed if _marks(found).get(REPLICAS) else await self._scaled(placed, found)

    async def _scaled(self, placed: Json, found: Json | None) -> Json:
        """Scale to what the config says when it says something new: a scale by hand outlives the next deploy. What it said is
        written down in the same request, so that none of the two is ever done without the other."""
        wanted = str(self.settings.replicas)
        if self.settings.autoscale is not None or _marks(placed).get(REPLICAS) == wanted:
            return placed
        change: Json = {"metadata": {"annotations": {REPLICAS: wanted}}}
        if _marks(found).get(REPLICAS) != wanted:
            change["spec"] = {"replicas": self.settings.replicas}
        return await self.cluster.merge(self.path, change, within=PATIENT_S)

    async def _landed(self, release: Release, deploy: Deploy, refused: Refused) -> Json:
        """The Deployment, if the patch that was refused had been taken before and only its answer was lost."""
        found = await self.cluster.find(self.path)
        if (
            found is not None
            and _marks(found).get(DEPLOY) == str(deploy.number)
            and image_of(found["spec"]["template"], release.container) == release.image
        ):
            return found
        words = f"Deployment {self._name} was changed by somebody else at this moment"
        raise RolloutEnded(words, ours=False, hint="deploy again") from refused

    async def _set_image(self, release: Release, marks: dict[str, str], found: Json | None) -> Json:
        if found is None:
            raise RolloutFailed(f"there is no Deployment {self._name}", hint="somebody deleted it; create it again")
        container = adoption.pick_container(found, release.container)
        operations = adoption.image_patch(found, container, release.image, marks)
        return await self.cluster.patch(self.path, operations, within=PATIENT_S)

    async def _apply(self, path: str, manifest: Json) -> Json:
        """Apply; where another manager holds a field, say so and take it: these objects are of deployd's making."""
        try:
            return await self.cluster.apply(path, manifest, force=False, within=PATIENT_S)
        except Refused as refused:
            if refused.status != 409:
                raise
            logger.warning("Taking fields of %s %s back: %s", manifest["kind"], self._name, refused.message)
        return await self.cluster.apply(path, manifest, force=True, within=PATIENT_S)

    async def _apply_around(self) -> None:
        """The Service and the autoscaler; one that the config no longer wants goes, if it is ours."""
        offers = await self._offers()
        wanted: list[tuple[str, Json | None]] = [
            (manifests.path(self.app, "services"), manifests.service(self.app, self._instance)),
            (manifests.autoscaler_path(self.app, offers), manifests.autoscaler(self.app, self._instance, offers)),
        ]
        for path, manifest in wanted:
            if manifest is not None:
                await self._apply(path, manifest)
                continue
            found = await self.cluster.find(path)
            if found is not None and self._owner(found) == self._instance:
                await self.cluster.delete(path)

    async def _offers(self) -> Offers:
        version: dict[str, Any] = await self.cluster.get("/version")
        group = await self.cluster.find("/apis/autoscaling") or {}
        served = {item["version"] for item in group.get("versions", [])}
        # Some vendors write "30+".
        return Offers(int("".join(filter(str.isdigit, version.get("minor", ""))) or 0), "v2" in served)


def _marks(found: Json | None) -> dict[str, str]:
    """The annotations of a Deployment, none of one that is not there."""
    marks: dict[str, str] = (found or {}).get("metadata", {}).get("annotations", {})
    return marks


def _named(release: Release | None) -> str:
    return f"{release.number} {release.image}" if release is not None and release.number is not None else ""

"""An app's Deployment: writes releases into it, as far as deployd may change it. Waits for no rollout.

A Deployment that deployd creates is applied whole, with its Service and autoscaler. In one that somebody else created, only the
image is set, by compare-and-set.
"""

from collections.abc import Iterable

from deployd.config.app import App
from deployd.config.digest import made_with
from deployd.domain import Deploy, Image
from deployd.errors import RolloutFailed
from deployd.ports.log import Log
from deployd.targets.kubernetes import adoption, environment, manifests, races
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.companions import (
    PATIENT_S,
    Companions,
    apply,
    compared,
    features_of,
    owner_of,
    refuse_foreign,
)
from deployd.targets.kubernetes.follow import RolloutEnded
from deployd.targets.kubernetes.manifests import (
    REPLICAS,
    RESTART,
    SCALED,
    Json,
)
from deployd.targets.kubernetes.others import annotations_of, asks_for, changed_by_others, overridden, stopped_by_others
from deployd.targets.kubernetes.pace import pace_patch, paced
from deployd.targets.kubernetes.patch import patched
from deployd.targets.kubernetes.releases import Place, Release
from deployd.targets.kubernetes.remembered import remembered

# The parts that nobody else may change between two writes of a canary: the Deployment's identity, and its pods.
_SAME = (("metadata", "uid"), ("spec", "template"))


class AppDeployment:
    """An app's Deployment on its cluster, changed by the deployd `instance`."""

    def __init__(self, cluster: Cluster, app: App, instance: str) -> None:
        self.cluster = cluster
        self.app = app
        self.settings = manifests.settings_of(app)
        self._instance = instance
        self._companions = Companions(cluster, app, instance)
        self._secret: Json | None = None  # of a new release, not written yet
        self.path = manifests.path(app)

    @property
    def place(self) -> Place:
        """Where it is, to find it when the app is no longer in the config."""
        namespace, name = manifests.names(self.app)
        return Place(self.settings.kubeconfig, self.settings.context, namespace, name, self.settings.create)

    async def examine(self) -> tuple[Json | None, list[str]]:
        """The Deployment as it is, and warnings; RolloutFailed when it must not or cannot be changed."""
        found = await self.cluster.find(self.path)
        if self.settings.create:
            await self._companions.refuse_foreign()
        if found is None:
            if self.settings.create:
                return None, []
            raise RolloutFailed(
                f"there is no Deployment {self.name}", hint="create it, or set create = true in [app.kubernetes]"
            )
        if found["spec"].get("paused"):
            raise RolloutFailed(f"Deployment {self.name} is paused", hint="kubectl rollout resume, then deploy again")
        if not self.settings.create:
            container = adoption.pick_container(found, self.settings.container)
            return found, [*overridden(found, container), *adoption.warnings(found, container)]
        hint = "set create = false, so that deployd only sets its image"
        refuse_foreign("Deployment", found, self.app, self._instance, hint)
        return found, overridden(found, manifests.container_name(self.app))

    def container_of(self, found: Json | None) -> str:
        """The container that runs the app."""
        if self.settings.create or found is None:
            return manifests.container_name(self.app)
        return adoption.pick_container(found, self.settings.container)

    async def new_release(
        self, deploy: Deploy, image: Image, found: Json | None, *, patch: bytes | None = None, log: Log | None = None
    ) -> Release:
        """The release of `image` with the present config, and with the content of the app's `patch`. Writes nothing."""
        template = None
        if self.settings.create:
            self._secret = secret = environment.secret_of(self.app, self._instance, log)
            name = secret["metadata"]["name"] if secret is not None else None
            template = manifests.template(self.app, image, self._instance, await features_of(self.cluster), name)
        if template is not None and self.settings.patch is not None:
            if patch is None:
                raise RolloutFailed(
                    f"there is no file {self.settings.patch} in {deploy.commit[:12]}",
                    hint="app.kubernetes.patch is relative to the repository's root",
                )
            template = patched(template, patch, self.settings.patch, manifests.container_name(self.app))
        if template is not None and deploy.trigger.kind == "restart":  # else an equal template would start no pods
            template["metadata"].setdefault("annotations", {})[RESTART] = str(deploy.number)
        container = self.container_of(found)
        return Release(deploy.number, deploy.commit, container, image.reference, template, deploy.registered)

    async def write_secret(self) -> None:
        """Write the Secret that a new release names, before the release."""
        if self._secret is not None:
            await environment.write(self.cluster, self.app, self._secret)
            self._secret = None

    async def remove_secrets(self, gone: Iterable[Release], kept: Iterable[Release]) -> None:
        """Remove the Secrets that only the releases in `gone` need."""
        await environment.remove(
            self.cluster, self.place, [one.template for one in gone], [one.template for one in kept]
        )

    def last_good(self, found: Json, deploy: Deploy | None) -> Release | None:
        """The last good release according to the Deployment itself. None when there is only the unfinished `deploy`."""
        return remembered(found, self.container_of(found), deploy, created=self.settings.create)

    async def apply(
        self, release: Release, deploy: Deploy, found: Json | None, good: Release | None, pods: int | None = None
    ) -> Json:
        """Write `release`; return the Deployment from the API server's answer. Compare-and-set compares with `found`.

        `good` is the release to go back to; it goes into an annotation, for a deployd that has lost its state. `pods`: its
        rollout is limited to so many new pods, until `go_on`.
        """
        if release.template is None:
            return await self._adopt(release, deploy, found, good, pods)
        await self.write_secret()
        manifest = manifests.deployment(self.app, deploy, release.template, self._instance, _number_and_image(good))
        applied = await apply(self.cluster, self.path, paced(manifest, found, pods))
        applied = await self._scaled(applied, found)
        await self._companions.apply()
        return applied

    async def would_be(self, release: Release, deploy: Deploy, found: Json | None) -> Json:
        """The Deployment that the API server would make of `release`, with what its webhooks change; Refused as it would be."""
        if release.template is None:
            return await self.cluster.patch(self.path, self._operations(release, deploy, found, None), only_tell=True)
        manifest = manifests.deployment(self.app, deploy, release.template, self._instance)
        return await self.cluster.apply(self.path, manifest, force=True, only_tell=True)

    async def go_on(
        self, applied: Json, release: Release, deploy: Deploy, good: Release | None, pods: int | None
    ) -> Json:
        """Let a limited rollout go on until it has `pods` new pods; None: to its end, at the Deployment's own pace. `applied` is
        the Deployment as it was written before; RolloutEnded when somebody else has changed it since."""

        async def write(found: Json | None) -> Json:
            if found is None or any(found[part][key] != applied[part][key] for part, key in _SAME):
                message = f"Deployment {self.name} was changed by somebody else in the canary"
                raise RolloutEnded(message, ours=False, hint="deploy again")
            return await self._write(release, deploy, found, good, pods)

        return await races.raced(self.cluster, self.path, write)

    async def let_go(self) -> None:
        """Give the Deployment its own pace back, whatever its image: somebody else has taken it over."""

        async def write(found: Json | None) -> None:
            if found is not None and (operations := pace_patch(found, None)):
                await self.cluster.patch(self.path, operations, within=PATIENT_S)

        await races.raced(self.cluster, self.path, write)

    async def reapply(self, release: Release, deploy: Deploy) -> Json | None:
        """Write a good `release` again; None when somebody else has set an image meanwhile. The rollout is limited no longer."""

        async def write(found: Json | None) -> Json | None:
            if found is not None and changed_by_others(found, release.container):
                return None
            applied = await self._write(release, deploy, found, release, None)
            # A new Deployment has a single replica, and so may one whose creation was interrupted.
            kept = release.template is None or annotations_of(found).get(REPLICAS)
            return applied if kept else await self._scaled(applied, found)

        if (applied := await races.raced(self.cluster, self.path, write)) is None:
            await self.let_go()
        return applied

    async def complete(self, found: Json | None, good: Release) -> None:
        """Restore what else belongs to a release that was written again: Service, autoscaler, and replicas; `found` as before."""
        if good.template is None:
            return
        await self._companions.apply()
        if found is not None and stopped_by_others(found, self.settings):
            await self.scale(self.settings.replicas)

    async def scale(self, replicas: int) -> None:
        """Set the number of replicas, whoever owns the field; the same request records that deployd was asked for it."""
        change = {"metadata": {"annotations": {SCALED: str(replicas)}}, "spec": {"replicas": replicas}}
        await self.cluster.merge(self.path, change, within=PATIENT_S)

    async def delete(self) -> None:
        """Remove the Deployment, if this deployd created it."""
        found = await self.cluster.find(self.path) if self.settings.create else None
        if found is not None and owner_of(found) == self._instance:
            await self.cluster.delete(self.path)

    @property
    def name(self) -> str:
        """Namespace and name."""
        return "/".join(manifests.names(self.app))

    async def edited(self, found: Json, good: Release, deploy: Deploy) -> str:
        """How somebody else changed what deployd writes into the Deployment, Service or autoscaler; empty when nobody did.

        Only of what deployd created. The API server itself compares: it knows its defaults and how it writes values."""
        if good.template is None:
            return ""
        if made_with(deploy, self.app) and (changed := await self._companions.difference()):
            return changed
        asked = manifests.deployment(self.app, deploy, good.template, self._instance, _number_and_image(good))
        would, conflict = await compared(self.cluster, self.path, asked)
        if would is None:
            return conflict
        same = would["spec"]["template"] == found["spec"]["template"]
        return "" if same else "somebody else changed the pod template of its Deployment"

    async def as_before(self, found: Json | None) -> bool:
        """Whether nobody has changed what the Deployment asks for since it was `found`, which may be None: there was none."""
        now = await self.cluster.find(self.path, within=PATIENT_S)
        return races.same(found, now)

    async def _write(
        self, release: Release, deploy: Deploy, found: Json | None, good: Release | None, pods: int | None
    ) -> Json:
        """Write `release` into the Deployment as it was `found`; Refused 409 or 422 when it has changed since."""
        if release.template is None:
            return await self._set_image(release, deploy, found, good, pods)
        manifest = manifests.deployment(self.app, deploy, release.template, self._instance, _number_and_image(good))
        manifest = paced(manifest, found, pods)
        if found is not None:
            manifest["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
        return await self.cluster.apply(self.path, manifest, force=True, within=PATIENT_S)

    async def _scaled(self, applied: Json, found: Json | None) -> Json:
        """Scale to the configured number if that has changed: otherwise a scale by hand is kept. The same request records the
        number in an annotation, so that neither happens without the other."""
        wanted = str(self.settings.replicas)
        if self.settings.autoscale is not None or annotations_of(applied).get(REPLICAS) == wanted:
            return applied
        change: Json = {"metadata": {"annotations": {REPLICAS: wanted}}}
        if annotations_of(found).get(REPLICAS) != wanted:
            change["spec"] = {"replicas": self.settings.replicas}
        return await self.cluster.merge(self.path, change, within=PATIENT_S)

    async def _adopt(
        self, release: Release, deploy: Deploy, found: Json | None, good: Release | None, pods: int | None
    ) -> Json:
        """Set the image in somebody else's Deployment as it was `found`; RolloutEnded when they have changed it since."""
        for _ in range(races.RACES):
            try:
                return await self._set_image(release, deploy, found, good, pods)
            except Refused as refused:
                if not races.may_be_lost(refused):
                    raise
                now = await self.cluster.find(self.path)
                if now is not None and asks_for(now, release):
                    return now  # an earlier try had succeeded, and only its answer was lost
                if not races.same(found, now):
                    message = f"Deployment {self.name} was changed by somebody else at this moment"
                    raise RolloutEnded(message, ours=False, hint="deploy again") from refused
                if refused.status == 422:  # what was compared is as it was: the content is refused
                    raise
        raise races.too_fast(self.path)

    async def _set_image(
        self, release: Release, deploy: Deploy, found: Json | None, good: Release | None, pods: int | None
    ) -> Json:
        operations = [*self._operations(release, deploy, found, good), *pace_patch(found or {}, pods)]
        return await self.cluster.patch(self.path, operations, within=PATIENT_S)

    def _operations(self, release: Release, deploy: Deploy, found: Json | None, good: Release | None) -> list[Json]:
        if found is None:
            raise RolloutFailed(f"there is no Deployment {self.name}", hint="somebody deleted it; create it again")
        annotations = manifests.annotations(deploy, release.image, _number_and_image(good))
        container = adoption.pick_container(found, release.container)
        operations = adoption.image_patch(found, container, release.image, annotations)
        if manifests.MODEL in annotations_of(found) and manifests.MODEL not in annotations:
            operations.append({"op": "remove", "path": f"/metadata/annotations/{manifests.MODEL}"})
        return operations


def _number_and_image(release: Release | None) -> str:
    return f"{release.number} {release.image}" if release is not None and release.number is not None else ""

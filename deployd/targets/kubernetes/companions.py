"""The Service and the autoscaler that belong to an app's Deployment, and the check of who owns them.

deployd changes and deletes only what carries the label of its own instance. Waits for nothing.
"""

from typing import Any

from deployd.config.app import App
from deployd.errors import RolloutFailed
from deployd.targets.kubernetes import manifests, notices
from deployd.targets.kubernetes.answers import Refused
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.manifests import INSTANCE, Features, Json

# An API server that restarts is back within this time.
PATIENT_S = 60.0


class Companions:
    """The Service and the autoscaler of one app, made by the deployd `instance`."""

    def __init__(self, cluster: Cluster, app: App, instance: str) -> None:
        self._cluster = cluster
        self._app = app
        self._settings = manifests.settings_of(app)
        self._instance = instance

    async def refuse_foreign(self) -> None:
        """RolloutFailed when a Service or autoscaler of this name is not ours: apply would take it over, and remove delete it."""
        wanted = [("Service", self._service_path)] if self._settings.service is not None else []
        if self._settings.autoscale is not None:
            any_version = manifests.autoscaler_path(self._app, Features(0, autoscaling_v2=False))
            wanted.append(("HorizontalPodAutoscaler", any_version))
        for kind, path in wanted:
            if (found := await self._cluster.find(path)) is not None:
                refuse_foreign(kind, found, self._app, self._instance, "delete or rename it")

    async def difference(self) -> str:
        """How somebody else changed the Service, or deleted it or the autoscaler; empty when nobody did. Other limits of the
        autoscaler stay until the next deploy, as another number of replicas does."""
        service = manifests.service(self._app, self._instance)
        if service is not None and (edited := await difference(self._cluster, self._service_path, service)):
            return edited
        any_version = manifests.autoscaler_path(self._app, Features(0, autoscaling_v2=False))
        wants_scaler = self._settings.autoscale is not None
        return "its autoscaler was deleted" if wants_scaler and await self._cluster.find(any_version) is None else ""

    async def apply(self) -> None:
        """Apply them; one that is no longer configured is deleted, if it is ours."""
        features = await features_of(self._cluster)
        wanted: list[tuple[str, Json | None]] = [
            (self._service_path, manifests.service(self._app, self._instance)),
            (manifests.autoscaler_path(self._app, features), manifests.autoscaler(self._app, self._instance, features)),
        ]
        for path, manifest in wanted:
            if manifest is not None:
                applied = await apply(self._cluster, path, manifest)
                if others := _selected_by_others(applied, manifest):
                    change = {"spec": {"selector": dict.fromkeys(others)}}
                    await self._cluster.merge(path, change, within=PATIENT_S)
                continue
            found = await self._cluster.find(path)
            if found is not None and owner_of(found) == self._instance:
                await self._cluster.delete(path)

    @property
    def _service_path(self) -> str:
        return manifests.path(self._app, "services")


async def apply(cluster: Cluster, path: str, manifest: Json) -> Json:
    """Apply an object that deployd created. When another field manager owns a field, tell that and take the field over."""
    try:
        return await cluster.apply(path, manifest, force=False, within=PATIENT_S)
    except Refused as refused:
        if not refused.conflict:
            raise
        metadata = manifest["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        if "conflict with" in refused.message:  # else it was changed at the same moment
            notices.tell(f"fields of {manifest['kind']} {name} are taken over: {refused.message}")
    return await cluster.apply(path, manifest, force=True, within=PATIENT_S)


async def difference(cluster: Cluster, path: str, manifest: Json) -> str:
    """How an object that deployd created differs from `manifest` in what deployd writes; empty when it does not. The API server
    itself compares: it knows its defaults and how it writes values."""
    kind = manifest["kind"]
    if (found := await cluster.find(path)) is None:
        return f"its {kind} was deleted"
    would, conflict = await compared(cluster, path, manifest)
    if would is None:
        return conflict
    same = would["spec"] == found["spec"] and not _selected_by_others(found, manifest)
    return "" if same else f"somebody else changed its {kind}"


async def compared(cluster: Cluster, path: str, manifest: Json) -> tuple[Json | None, str]:
    """The object as it would be if `manifest` was applied; else None, and the field that somebody else has taken. Neither when a
    policy or a webhook does not let that be asked, which says nothing of the object: a release that runs is not down for it."""
    try:
        return await cluster.apply(path, manifest, force=False, only_tell=True), ""
    except Refused as refused:
        if refused.status == 403 and not refused.denied:  # a missing right, which a person has to give
            raise
        return None, f"somebody else changed its {manifest['kind']}: {refused.message}" if refused.conflict else ""


def _selected_by_others(found: Json, manifest: Json) -> list[str]:
    """The labels that a Service asks of its pods beyond ours. Older API servers merge selectors, so that applying ours again
    does not take them away."""
    ours = manifest["spec"].get("selector", {})
    return [label for label in found["spec"].get("selector", {}) if label not in ours]


async def features_of(cluster: Cluster) -> Features:
    """The features of the cluster's API server."""
    version: dict[str, Any] = await cluster.get("/version")
    group = await cluster.find("/apis/autoscaling") or {}
    served = {item["version"] for item in group.get("versions", [])}
    # Some vendors write "30+".
    return Features(int("".join(filter(str.isdigit, version.get("minor", ""))) or 0), "v2" in served)


def owner_of(found: Json) -> str | None:
    """The instance of deployd that made an object; None when none did."""
    owner: str | None = found["metadata"].get("labels", {}).get(INSTANCE)
    return owner


def refuse_foreign(kind: str, found: Json, app: App, instance: str, hint: str) -> None:
    """RolloutFailed when an object was not made by this instance."""
    if (owner := owner_of(found)) != instance:
        raise RolloutFailed(
            f"{kind} {'/'.join(manifests.names(app))} was not created by this deployd "
            f"({f'but by {owner}' if owner else 'it has no label'})",
            hint=f"{hint}, or name another in [app.kubernetes] deployment",
        )

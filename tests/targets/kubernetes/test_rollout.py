"""How a roll-out can end where a real cluster cannot be made to do it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from deployd.domain import Image
from deployd.errors import RolloutFailed, Unavailable
from deployd.goal import ModelVersion
from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.deployment import AppDeployment
from deployd.targets.kubernetes.manifests import MODEL
from deployd.targets.kubernetes.releases import Record, Release, Releases
from deployd.targets.kubernetes.rollout import Rollout
from tests.fake_target import FakeProgress
from tests.targets.kubernetes.api_server import ApiServer, refuses, says
from tests.targets.kubernetes.apps import IMAGE, a_deploy, an_app
from tests.targets.kubernetes.objects import NEW, OLD, a_condition, a_template
from tests.targets.kubernetes.test_deployment import PATH, marked, serves_nothing_around
from tests.targets.kubernetes.test_standing import follows

RELEASE = Release(7, "c0ffee", "iris", NEW, a_template(NEW))


class MemoryReleases(Releases):
    """Records in memory, on a disk that refuses the next `full` writes."""

    def __init__(self, *, full: int = 0) -> None:
        self.written: list[Record] = []
        self.full = full

    def read(self, app: str) -> Record | None:
        return self.written[-1] if self.written else None

    def write(self, app: str, record: Record) -> None:
        if self.full:
            self.full -= 1
            raise Unavailable("the disk is full")
        self.written.append(record)


class PushedAlready:
    """A registry that has the image."""

    async def push(self, image: Image, log: object) -> Image:
        return image


def a_rollout(api: Cluster, progress: FakeProgress, releases: Releases) -> Rollout:
    return Rollout(AppDeployment(api, an_app(), "here"), a_deploy(7), progress, releases)


async def test_a_proven_release_goes_live_although_the_disk_is_full(api: Cluster) -> None:
    progress, releases = FakeProgress(), MemoryReleases(full=1)
    await progress.cutting_over()
    await a_rollout(api, progress, releases)._record_good(RELEASE)
    assert progress.said[-1] == "live"
    assert releases.written[-1].last == RELEASE


async def test_a_superseded_deploy_leaves_a_deployment_that_somebody_else_took_over(
    server: ApiServer, api: Cluster
) -> None:
    server.on("GET", PATH, says(marked(OLD)))
    serves_nothing_around(server)
    server.on("DRY RUN", PATH, says(marked(IMAGE.reference)))
    progress, releases = FakeProgress(), MemoryReleases()
    rollout = a_rollout(api, progress, releases)
    theirs = Record(rollout._deployment.place, (RELEASE,), "somebody paused the Deployment")
    releases.write("iris", theirs)
    progress.outrun = True
    with pytest.raises(asyncio.CancelledError):
        await rollout.run(IMAGE, PushedAlready())
    assert releases.written == [theirs]


async def test_the_good_release_is_asked_for_before_a_full_disk_can_hold_its_record_up(
    server: ApiServer, api: Cluster
) -> None:
    """The step that fails waits for the disk; the good template is back by then."""

    async def as_patched(_: web.Request) -> web.StreamResponse:
        patched = any(request.method == "PATCH" and "dryRun" not in request.query for request in server.asked)
        return web.json_response(marked(NEW, deploy="7") if patched else marked(OLD))

    server.on("GET", PATH, as_patched)
    serves_nothing_around(server)
    server.on("DRY RUN", PATH, says(marked(IMAGE.reference)))
    # The patch is taken, the scaling refused: the step fails.
    server.on("PATCH", PATH, says(marked(NEW, deploy="7")), refuses(403, "Forbidden", "no"), says(marked(OLD)))
    releases, order = MemoryReleases(), list[str]()
    good = Release(6, "c0ffee", "iris", OLD, a_template(OLD))

    class WaitsForTheDisk(FakeProgress):
        @asynccontextmanager
        async def step(self, name: str) -> AsyncIterator[None]:
            self.said.append(name)
            try:
                yield
            finally:
                asked = zip(server.asked, server.bodies, strict=True)
                written = [body for request, body in asked if body is not None and "dryRun" not in request.query]
                patched = [body for body in written if "template" in body.get("spec", {})]
                order.append(f"{name} recorded after {len(patched)} patches")

    follows(server, marked(OLD))
    rollout = a_rollout(api, WaitsForTheDisk(), releases)
    releases.write("iris", Record(rollout._deployment.place, (good,)))
    with pytest.raises(RolloutFailed):
        await rollout.run(IMAGE, PushedAlready())
    assert order[1] == "apply recorded after 2 patches"


@pytest.mark.parametrize("create", [True, False])
async def test_the_good_release_that_is_written_again_names_its_own_model(
    server: ApiServer, api: Cluster, tmp_path: Path, create: bool
) -> None:
    third, fourth = (ModelVersion("iris", number, "s3://models", 1) for number in "34")
    bad, before = marked(IMAGE.reference, deploy="7"), marked(OLD)
    for found, version in ((bad, fourth), (before, third)):
        found["metadata"]["annotations"][MODEL] = version.path
    bad["status"]["conditions"] = [a_condition("Progressing", "False", "ProgressDeadlineExceeded")]

    async def as_patched(_: web.Request) -> web.StreamResponse:
        patched = any(request.method == "PATCH" and "dryRun" not in request.query for request in server.asked)
        return web.json_response(bad if patched else before)

    server.on("GET", PATH, as_patched)
    serves_nothing_around(server)
    follows(server, bad)
    scaled = [says(marked(IMAGE.reference, deploy="7"))] if create else []
    server.on("PATCH", PATH, says(marked(IMAGE.reference, deploy="7")), *scaled, says(marked(OLD)))
    server.on("DRY RUN", PATH, says(bad))
    deployment, releases = AppDeployment(api, an_app(create=create), "here"), Releases(tmp_path)
    good = Release(6, "c0ffee", "iris", OLD, a_template(OLD) if create else None, third)
    releases.write("iris", Record(deployment.place, (good,)))
    with pytest.raises(RolloutFailed):
        await Rollout(deployment, a_deploy(7, registered=fourth), FakeProgress(), releases).run(IMAGE, PushedAlready())
    asked = zip(server.asked, server.bodies, strict=True)
    written = [body for request, body in asked if request.method == "PATCH" and "dryRun" not in request.query]
    assert [model_in(body) for body in written if model_in(body)][:2] == ["iris/4", "iris/3"]


def model_in(body: Any) -> str | None:
    """The model in a manifest, or in a JSON Patch."""
    if isinstance(body, list):
        return next((one.get("value") for one in body if one["path"] == f"/metadata/annotations/{MODEL}"), None)
    found: str | None = body["metadata"].get("annotations", {}).get(MODEL)
    return found


async def test_a_release_without_a_registered_model_takes_the_name_of_the_former_one_away(
    server: ApiServer, api: Cluster
) -> None:
    found = marked(OLD)
    found["metadata"]["annotations"][MODEL] = "iris/3"
    server.on("PATCH", PATH, says(marked(IMAGE.reference)))
    release = Release(7, "c0ffee", "iris", IMAGE.reference, None)
    await AppDeployment(api, an_app(create=False), "here").apply(release, a_deploy(7), found, None)
    assert {"op": "remove", "path": f"/metadata/annotations/{MODEL}"} in server.bodies[-1]


WORDS = "ValidatingAdmissionPolicy 'owners' with binding 'ml' denied request: every Deployment needs the label team"


async def refused(server: ApiServer, api: Cluster, *, create: bool) -> tuple[RolloutFailed, FakeProgress, list[str]]:
    """Roll out over a good release what the server's answers refuse; the error, the progress, and what was written."""
    server.on("GET", PATH, says(marked(OLD)))
    serves_nothing_around(server)
    progress, releases = FakeProgress(), MemoryReleases()
    deployment = AppDeployment(api, an_app(create=create), "here")
    good = Release(6, "c0ffee", "iris", OLD, a_template(OLD) if create else None)
    releases.write("iris", Record(deployment.place, (good,)))
    with pytest.raises(RolloutFailed) as caught:
        await Rollout(deployment, a_deploy(7), progress, releases).run(IMAGE, PushedAlready())
    assert releases.written[-1].taken_over == ""
    writes = [request.method for request in server.asked if request.method != "GET" and "dryRun" not in request.query]
    return caught.value, progress, writes


@pytest.mark.parametrize("create", [True, False])
async def test_a_deploy_that_a_policy_refuses_ends_before_the_cut_over_with_its_words(
    server: ApiServer, api: Cluster, create: bool
) -> None:
    server.on("DRY RUN", PATH, refuses(422, "Invalid", WORDS))
    failed, progress, writes = await refused(server, api, create=create)
    assert failed.message == WORDS
    assert "policy" in failed.hint
    assert writes == []
    assert "apply" not in progress.said


@pytest.mark.parametrize("create", [True, False])
async def test_a_policy_that_is_asked_only_by_the_write_leaves_everything_as_it_was(
    server: ApiServer, api: Cluster, create: bool
) -> None:
    server.on("DRY RUN", PATH, refuses(400, "BadRequest", 'admission webhook "owners" does not support dry run'))
    server.on("PATCH", PATH, refuses(422, "Invalid", WORDS))
    failed, progress, writes = await refused(server, api, create=create)
    assert failed.message == WORDS
    assert writes == ["PATCH"]
    assert "nothing was changed in the cluster" in progress.book.text


@pytest.mark.parametrize("create", [True, False])
async def test_a_webhook_that_replaces_the_image_is_refused_before_anything_is_changed(
    server: ApiServer, api: Cluster, create: bool
) -> None:
    """A policy that names a mirror instead: what runs would seem to be somebody else's image, and stay unproven."""
    server.on("DRY RUN", PATH, says(marked("mirror.example.com/iris@sha256:new")))
    failed, _, writes = await refused(server, api, create=create)
    assert f"replaces the image {IMAGE.reference} by mirror.example.com/iris@sha256:new" in failed.message
    assert writes == []

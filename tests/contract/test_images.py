"""What every builder promises of the images that it built, asked of each on a real engine: what goes, and what stays."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.domain import Image
from deployd.engine.names import names
from deployd.ports.builder import Removal
from tests.builders.builds import BUSYBOX, a_context, a_request
from tests.conftest import Leaks
from tests.contract.builders import KINDS, Bench, a_bench, built
from tests.fakes import FakeLog

pytestmark = pytest.mark.engine


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, base_images: Engine, leaks: Leaks, tmp_path: Path) -> Iterator[Bench]:
    yield from a_bench(request.param, base_images, leaks, tmp_path)


async def test_an_image_goes_by_its_own_name(bench: Bench, base_images: Engine) -> None:
    image = await built(bench, "RUN echo 1 > /x")
    assert await bench.builder.remove(image, dry_run=True) == Removal(done=True)
    assert await bench.builder.find(image) is not None
    assert await bench.builder.remove(image) == Removal(done=True)
    assert base_images.api().get(f"/images/{image.id}/json") is None
    assert await bench.builder.remove(image) == Removal(done=True)


async def test_a_rebuild_of_a_commit_overwrites_nothing_and_leaves_no_unnamed_image_of_ours(
    bench: Bench, base_images: Engine
) -> None:
    request = a_request(bench.instance)
    async with a_context("RUN date +%N > /x") as context:
        old = await bench.builder.build(request, context, FakeLog())
        again = replace(request, tag=f"{request.commit}-again", fresh=True)
        new = await bench.builder.build(again, context, FakeLog())
    assert new.id != old.id
    assert [await bench.builder.find(image) is not None for image in (old, new)] == [True, True]
    filters = f'{{"label":["io.deployd.instance={bench.instance}"]}}'
    labelled = base_images.api().get(f"/images/json?filters={filters}")
    assert sorted(name for image in labelled for name in names(image)) == sorted([old.full_name, new.full_name])


async def test_an_image_that_a_person_uses_stays_whole(bench: Bench, base_images: Engine) -> None:
    image = await built(bench, 'CMD ["true"]')
    api = base_images.api()
    made = api.post(f"/containers/create?name=mine-{bench.instance}", {"Image": image.id})
    try:
        stays = Removal(done=False, rest=f"the container mine-{bench.instance} uses it")
        assert await bench.builder.remove(image, dry_run=True) == stays
        assert await bench.builder.remove(image) == stays
        assert await bench.builder.find(image) is not None
    finally:
        api.delete(f"/containers/{made['Id']}?force=1")
    assert await bench.builder.remove(image) == Removal(done=True)


async def test_a_name_that_a_person_gave_stays(bench: Bench, base_images: Engine) -> None:
    image, api = await built(bench, "RUN echo 3 > /x"), base_images.api()
    mine = f"mine-{bench.instance}:best"
    api.post(f"/images/{image.id}/tag?repo=mine-{bench.instance}&tag=best")
    assert await bench.builder.remove(image) == Removal(done=True, rest=f"it is also called {mine}")
    assert names(api.get(f"/images/{mine}/json")) == [mine]
    assert await bench.builder.remove(image) == Removal(done=True)  # nothing of it is ours any more
    assert api.get(f"/images/{mine}/json")["Id"] == image.id
    api.delete(f"/images/{mine}")


async def test_our_name_on_the_image_of_somebody_else_stays(bench: Bench, base_images: Engine) -> None:
    image, api = await built(bench, "RUN echo 4 > /x"), base_images.api()
    api.post(f"/images/{BUSYBOX}/tag?repo={image.name}&tag={image.tag}")
    assert await bench.builder.remove(image) == Removal(done=True)  # by its id: nothing named it
    assert api.get(f"/images/{image.id}/json") is None
    assert image.full_name in names(api.get(f"/images/{BUSYBOX}/json"))
    api.delete(f"/images/{image.full_name}")


async def test_what_a_person_built_on_an_image_stays(bench: Bench, base_images: Engine) -> None:
    image, api = await built(bench, "RUN echo 5 > /x"), base_images.api()
    mine = f"mine-{bench.instance}:child"
    images.build(api, mine, f"FROM {image.full_name}\nRUN echo mine > /mine\n", {})
    removal = await bench.builder.remove(image)
    assert removal.done
    assert api.get(f"/images/{image.full_name}/json") is None
    made = api.post("/containers/create", {"Image": mine, "Cmd": ["cat", "/x", "/mine"]})
    api.post(f"/containers/{made['Id']}/start")
    assert api.post(f"/containers/{made['Id']}/wait")["StatusCode"] == 0
    api.delete(f"/containers/{made['Id']}?force=1")
    api.delete(f"/images/{mine}")
    assert api.get(f"/images/{image.id}/json") is None


async def test_an_image_of_a_build_that_was_cut_short_goes_by_its_name(bench: Bench, base_images: Engine) -> None:
    image = await built(bench, "RUN echo 6 > /x")
    assert await bench.builder.remove(Image(image.name, image.tag, "")) == Removal(done=True)
    assert base_images.api().get(f"/images/{image.id}/json") is None
    assert await bench.builder.remove(Image(image.name, image.tag, "")) == Removal(done=True)

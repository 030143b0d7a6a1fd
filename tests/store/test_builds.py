from datetime import UTC, datetime

from deployd.domain import Base, Image
from deployd.store.store import Store
from tests.store.given import A, B, queued

AT = datetime(2026, 11, 26, tzinfo=UTC)
IMAGE = Image("deployd/here/iris", f"{A}-1", "sha256:1", bases=(Base("python:3.12", "sha256:b"),))


async def test_a_build_is_recorded_under_its_name_before_it_ends(store: Store) -> None:
    deploy = await queued(store, A)
    await store.begin_build(deploy, IMAGE.full_name, "settings")
    (build,) = await store.builds("iris")
    assert (build.name, build.number, build.commit, build.image) == (IMAGE.full_name, 1, A, None)
    assert await store.built("iris", A, "settings") == []


async def test_the_image_is_recorded_for_the_build_and_its_deploy(store: Store) -> None:
    deploy = await queued(store, A)
    build = await store.begin_build(deploy, IMAGE.full_name, "settings")
    await store.end_build(deploy, build, IMAGE, AT)
    (built,) = await store.built("iris", A, "settings")
    now = await store.deploy("iris", 1)
    assert now is not None
    assert built.image == now.image == IMAGE
    assert built.pulled_at == await store.last_pull("iris") == AT
    assert await store.built("iris", A, "other settings") == []
    assert await store.built("iris", B, "settings") == []
    assert await store.last_pull("rose") is None


async def test_the_newer_of_two_builds_of_a_commit_comes_first(store: Store) -> None:
    deploy = await queued(store, A)
    for _ in range(2):
        build = await store.begin_build(deploy, IMAGE.full_name, "settings")
        await store.end_build(deploy, build, IMAGE, None)
    newer, older = await store.built("iris", A, "settings")
    assert newer.id > older.id
    await store.forget_build(newer.id)
    assert await store.builds("iris") == [older]

from deployd.store.store import Store


async def test_the_last_container_of_a_deploy_is_known_by_its_id(store: Store) -> None:
    assert await store.made("iris", 1) is None
    await store.record_made("iris", 1, "one")
    await store.record_made("rose", 1, "other")
    assert (await store.made("iris", 1), await store.made("iris", 2)) == ("one", None)
    await store.record_made("iris", 1, "two")
    assert await store.made("iris", 1) == "two"


async def test_a_forgotten_container_is_unknown(store: Store) -> None:
    await store.record_made("iris", 1, "one")
    await store.forget_made("iris", 1)
    assert await store.made("iris", 1) is None

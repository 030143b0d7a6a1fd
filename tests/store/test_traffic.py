"""The samples of traffic in the store: added up, kept fine for an hour and coarse for a week, and bounded."""

import time

from deployd.samples import COARSE, FINE, Sample
from deployd.store.store import Store

NOW = FINE.stretch(time.time())


async def test_a_sample_is_kept_in_both_grains(store: Store) -> None:
    await store.record_traffic([Sample("iris", 1, NOW, 5, 1, 2, {1000: 5})], {NOW: 10.0})
    assert await store.traffic("iris", FINE, NOW) == ([Sample("iris", 1, NOW, 5, 1, 2, {1000: 5})], {NOW: 10.0})
    coarse = COARSE.stretch(NOW)
    assert await store.traffic("iris", COARSE, NOW) == (
        [Sample("iris", 1, coarse, 5, 1, 2, {1000: 5})],
        {coarse: 10.0},
    )


async def test_samples_of_one_stretch_are_added_up_by_release(store: Store) -> None:
    for _ in range(2):
        samples = [Sample("iris", 1, NOW, 5, 1, 0, {1000: 5}), Sample("iris", 2, NOW, 1)]
        await store.record_traffic(samples, {NOW: 5.0})
    found, seen = await store.traffic("iris", FINE, NOW)
    assert found == [Sample("iris", 1, NOW, 10, 2, 0, {1000: 10}), Sample("iris", 2, NOW, 2)]
    assert seen == {NOW: 10.0}


async def test_only_the_app_and_the_time_that_are_asked_for_are_answered(store: Store) -> None:
    samples = [Sample("iris", 1, NOW - 60, 1), Sample("iris", 1, NOW, 2), Sample("rose", 1, NOW, 3)]
    await store.record_traffic(samples, {NOW - 60: 10.0, NOW: 10.0})
    found, seen = await store.traffic("iris", FINE, NOW - 5)
    assert [sample.requests for sample in found] == [2]
    assert list(seen) == [NOW]


async def test_samples_too_old_for_their_grain_are_deleted_with_the_next_write(store: Store) -> None:
    hours, weeks = NOW - 2 * FINE.kept, NOW - 2 * COARSE.kept
    for at in (weeks, hours, NOW):
        await store.record_traffic([Sample("iris", 1, at, 1)], {at: 10.0})
    await store.record_traffic([], {NOW: 0.0})
    fine, _ = await store.traffic("iris", FINE, 0)
    coarse, seen = await store.traffic("iris", COARSE, 0)
    assert [sample.at for sample in fine] == [NOW]
    assert [sample.at for sample in coarse] == [COARSE.stretch(hours), COARSE.stretch(NOW)] == list(seen)

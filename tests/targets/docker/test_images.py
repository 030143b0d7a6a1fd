from hypothesis import given
from hypothesis import strategies as st

from deployd.targets.docker.images import to_prune


def listed(*sizes: int) -> list[dict[str, object]]:
    return [{"Id": f"i{n}", "Created": n, "Size": size} for n, size in enumerate(sizes)]


def pruned(images: list[dict[str, object]], keep: set[str], count: int, size: int) -> list[object]:
    return [image["Id"] for image in to_prune(images, keep, count, size)]


def test_the_oldest_images_are_removed_first() -> None:
    assert pruned(listed(1, 1, 1), set(), 2, 100) == ["i0"]


def test_the_total_size_is_limited_as_well_as_the_number() -> None:
    assert pruned(listed(40, 40, 40), set(), 10, 100) == ["i0"]


def test_a_kept_image_stays_even_beyond_the_limits() -> None:
    assert pruned(listed(90, 90, 90), {"i0"}, 1, 100) == ["i2", "i1"]


def test_kept_images_count_towards_the_limits() -> None:
    assert pruned(listed(*[1] * 8), {"i7", "i0"}, 5, 100) == ["i3", "i2", "i1"]


def test_a_small_old_image_does_not_outlive_a_large_newer_one() -> None:
    assert pruned(listed(1, 90, 90), set(), 10, 100) == ["i1", "i0"]


@given(st.lists(st.integers(0, 50), max_size=10), st.sets(st.integers(0, 9)), st.integers(0, 10), st.integers(0, 200))
def test_images_that_are_not_kept_stay_only_within_the_limits(
    sizes: list[int], kept: set[int], count: int, size: int
) -> None:
    images, keep = listed(*sizes), {f"i{n}" for n in kept}
    going = {image["Id"] for image in to_prune(images, keep, count, size)}
    left = [image for image in images if image["Id"] not in going]
    assert not going & keep
    assert len(left) <= max(count, len(keep & {str(i["Id"]) for i in images}))

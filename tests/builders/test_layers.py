"""Which layers of the build cache go."""

from typing import Any

from deployd.builders.layers import to_trim

MB = 1_000_000


def layer(name: str, parent: str, created: int, size: int, *tags: str) -> dict[str, Any]:
    """A listed image; `size` in MB, with that of its parents."""
    return {"Id": name, "ParentId": parent, "Created": created, "Size": size * MB, "RepoTags": list(tags) or None}


BASE = layer("base", "", 0, 100, "python:3.12")
CHAIN = [BASE, layer("pip", "base", 1, 150), layer("copy", "pip", 2, 151), layer("model", "copy", 3, 160)]
OURS = {"pip", "copy", "model"}


def test_within_the_limit_nothing_goes() -> None:
    assert to_trim(CHAIN, OURS, 60 * MB) == []


def test_a_layer_goes_after_those_that_stand_on_it_and_counts_only_for_its_own_bytes() -> None:
    assert to_trim(CHAIN, OURS, 0) == [("model", 9 * MB), ("copy", 1 * MB), ("pip", 50 * MB)]
    assert to_trim(CHAIN, OURS, 55 * MB) == [("model", 9 * MB)]


def test_what_a_named_image_stands_on_is_no_cache() -> None:
    named = layer("image", "copy", 4, 152, "deployd/here/iris:1")
    assert to_trim([*CHAIN, named], OURS, 0) == [("model", 9 * MB)]


def test_the_oldest_end_of_a_chain_goes_first() -> None:
    other = [layer("other", "base", 1, 130), layer("newer", "pip", 9, 170)]
    assert [name for name, _ in to_trim([*CHAIN, *other], OURS | {"other", "newer"}, 0)] == [
        *("other", "model", "copy", "newer", "pip"),
    ]


def test_layers_that_others_made_stay_with_all_below_them() -> None:
    assert to_trim(CHAIN, {"pip", "copy"}, 0) == []
    assert to_trim(CHAIN, {"copy", "model", "gone"}, 0) == [("model", 9 * MB), ("copy", 1 * MB)]


def test_a_layer_that_got_a_name_stays() -> None:
    kept = [BASE, layer("pip", "base", 1, 150), layer("copy", "pip", 2, 151, "mine:latest")]
    assert to_trim(kept, OURS, 0) == []

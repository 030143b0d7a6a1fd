"""Which layers of the build cache go."""

from typing import Any

from deployd.builders.layers import made_last, made_on_the_way, to_trim

MB = 1_000_000


def layer(name: str, parent: str, created: int, size: int, *tags: str) -> dict[str, Any]:
    """A listed image; `size` in MB, with that of its parents."""
    return {"Id": name, "ParentId": parent, "Created": created, "Size": size * MB, "RepoTags": list(tags) or None}


BASE = layer("base", "", 0, 100, "python:3.12")
CHAIN = [BASE, layer("pip", "base", 1, 150), layer("copy", "pip", 2, 151), layer("model", "copy", 3, 160)]
OURS = {"pip", "copy", "model"}


def test_within_the_limit_nothing_goes() -> None:
    assert to_trim(CHAIN, OURS, 60 * MB) == []


def test_a_layer_goes_after_those_that_build_on_it_and_counts_only_for_its_own_bytes() -> None:
    assert to_trim(CHAIN, OURS, 0) == [("model", 9 * MB), ("copy", 1 * MB), ("pip", 50 * MB)]
    assert to_trim(CHAIN, OURS, 55 * MB) == [("model", 9 * MB)]


def test_the_layers_that_a_named_image_builds_on_are_no_cache() -> None:
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


def test_the_layers_of_a_build_are_found_from_its_reported_ids() -> None:
    named = layer("sha256:4d", "copy", 4, 152, "deployd/here/iris:1")
    listed = [*CHAIN, layer("sha256:5e", "pip", 3, 151), named]
    assert made_on_the_way(listed, ["sha256:4d"], 2) == ["copy"]
    assert made_on_the_way(listed, ["4d", "5e"], 0) == ["sha256:5e", "pip", "copy"]
    assert made_on_the_way(listed, ["5"], 3) == ["sha256:5e"]
    assert made_on_the_way(listed, [], 0) == made_on_the_way(listed, ["sha256:77"], 0) == []


def labelled(image: dict[str, Any], build: str) -> dict[str, Any]:
    return image | {"Labels": {"io.deployd.build": build}}


def test_a_result_without_a_name_goes_also_within_the_limit() -> None:
    results = [labelled(layer("result", "model", 4, 160), "a"), labelled(layer("other", "copy", 1, 151), "a")]
    going = to_trim([*CHAIN, *results], OURS | {"result", "other"}, 99 * MB)
    assert [name for name, _ in going] == ["other", "result"]


def test_a_layer_that_has_the_label_from_its_base_layer_is_cache() -> None:
    base = labelled(layer("base", "", 0, 100, "deployd/here/base:1"), "a")
    chain = [base, labelled(layer("pip", "base", 1, 150), "a"), labelled(layer("result", "pip", 2, 150), "b")]
    assert [name for name, _ in to_trim(chain, {"pip", "result"}, 99 * MB)] == ["result"]


def test_what_was_made_last_is_young_unnamed_and_builds_on_what_the_build_made() -> None:
    others = [layer("named", "model", 5, 1, "mine:1"), layer("far", "last", 5, 1), layer("theirs", "base", 5, 1)]
    listed = [*CHAIN, layer("old", "model", 3, 1), layer("last", "model", 4, 1), *others]
    assert made_last(listed, {"model"}, 3.5) == ["last"]

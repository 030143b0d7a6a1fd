import random

import pytest

from deployd.order.version import version_of

IN_ORDER = [
    "v1.0.0-alpha",
    "v1.0.0-alpha.1",
    "v1.0.0b2",
    "v1.0.0-rc.1",
    "v1.0.0",
    "1.0.0.post1",
    "v1.2",
    "release-1.9",
    "v1.10.dev1",
    "v1.10",
    "iris-2.0rc1",
    "v2.0",
]


def test_versions_are_ordered_as_pep_440_and_semver_say() -> None:
    shuffled = random.Random(4).sample(IN_ORDER, len(IN_ORDER))
    assert sorted(shuffled, key=lambda name: version_of(f"refs/tags/{name}")) == IN_ORDER  # type: ignore[arg-type,return-value]


def test_a_pre_release_that_only_semver_knows_comes_before_its_release() -> None:
    names = ["v1.0.0-nightly.3", "v1.0.0-nightly.20", "v1.0.0-zero", "v1.0.0-rc.1", "v1.0.0"]
    versions = [version_of(f"refs/tags/{name}") for name in names]
    assert versions == sorted(versions)  # type: ignore[type-var]
    assert len(set(versions)) == len(versions)


@pytest.mark.parametrize("name", ["vnext", "latest", "v1.x", "2024-01-05", "v1..2", "release"])
def test_a_tag_that_is_neither_pep440_nor_semver_is_no_version(name: str) -> None:
    assert version_of(f"refs/tags/{name}") is None


def test_two_spellings_of_one_version_are_the_same() -> None:
    assert version_of("refs/tags/v1.0-rc1") == version_of("refs/tags/1.0.0rc1")

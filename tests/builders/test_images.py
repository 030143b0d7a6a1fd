import pytest

from deployd.builders.images import base_of

OTHER, ITS = "sha256:0a", "sha256:0b"


@pytest.mark.parametrize(
    ("name", "digests"),
    [
        ("python:3.11", ["mine/python@sha256:0a", "python@sha256:0b"]),
        ("python:3.11", ["docker.io/mine/python@sha256:0a", "docker.io/library/python@sha256:0b"]),
        ("docker.io/library/python", ["python@sha256:0b"]),
        ("localhost:5000/base", ["docker.io/library/base@sha256:0a", "localhost:5000/base@sha256:0b"]),
    ],
)
def test_a_base_image_has_the_digest_of_its_own_name(name: str, digests: list[str]) -> None:
    base = base_of(name, {"Id": OTHER, "RepoDigests": digests})
    assert (base.name, base.digest) == (name, ITS)


def test_a_base_image_without_a_digest_is_known_by_its_id() -> None:
    assert base_of("base", {"Id": OTHER, "RepoDigests": ["localhost/base@sha256:0b"]}).digest == OTHER
    assert base_of("base", {"Id": OTHER, "RepoDigests": None}).digest == OTHER

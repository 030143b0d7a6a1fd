import pytest

from deployd.engine.names import familiar, names


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("docker.io/library/python:3.11", "python:3.11"),
        ("docker.io/deployd/here/iris:1", "deployd/here/iris:1"),
        ("library/python:3.11", "library/python:3.11"),
        ("localhost/python:3.11", "localhost/python:3.11"),
        ("registry.example.com/library/python", "registry.example.com/library/python"),
    ],
)
def test_a_name_is_the_one_that_the_docker_client_shows(name: str, shown: str) -> None:
    assert familiar(name) == shown


def test_the_names_of_an_image_are_read_as_docker_and_as_podman_list_them() -> None:
    assert names({"RepoTags": ["mine:best", "<none>:<none>"]}) == ["mine:best"]
    assert names({"RepoTags": ["docker.io/library/mine:best"]}) == ["mine:best"]
    assert names({"RepoTags": None}) == names({}) == []

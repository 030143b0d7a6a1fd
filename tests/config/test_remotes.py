import pytest

from deployd.config.remotes import called


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/acme/iris",
        "https://github.com/acme/iris.git",
        "https://github.com/acme/iris/",
        "https://GitHub.com:443/Acme/Iris.git/",
        "http://github.com/acme/iris",
        "ssh://git@github.com/acme/iris.git",
        "ssh://github.com:22/acme/iris",
        "ssh://git@ssh.github.com:443/acme/iris.git",
        "git@github.com:acme/iris.git",
        "git@github.com:/acme/iris.git",
        "github.com:acme/iris",
        "git@ssh.github.com:acme/iris.git",
        "deploy@GITHUB.COM:Acme/Iris",
    ],
)
def test_a_repository_is_called_the_same_wherever_it_is_asked_for(url: str) -> None:
    assert called(url) == "github.com/acme/iris"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://gitlab.com/acme/ml/iris.git", "gitlab.com/acme/ml/iris"),
        ("git@gitlab.com:acme/ml/deep/iris.git", "gitlab.com/acme/ml/deep/iris"),
        ("https://gitlab.com/acme/iris", "gitlab.com/acme/iris"),
        ("https://git.example.com:8443/iris", "git.example.com/iris"),
        ("https://github.com/acme/iris.github.io", "github.com/acme/iris.github.io"),
    ],
)
def test_host_and_subgroups_belong_to_the_name(url: str, name: str) -> None:
    assert called(url) == name


@pytest.mark.parametrize(
    "url",
    [
        ".",
        "./acme/iris",
        "/srv/acme/iris.git",
        "file:///srv/acme/iris.git",
        "file://localhost/acme/iris",
        "https://github.com/",
        "https://[::1/x",
    ],
)
def test_a_path_does_not_say_what_a_forge_calls_it(url: str) -> None:
    assert called(url) is None

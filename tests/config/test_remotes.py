import pytest

from deployd.config.remotes import repository_name


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
def test_every_url_of_a_repository_has_the_same_name(url: str) -> None:
    assert repository_name(url) == "github.com/acme/iris"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://gitlab.com/acme/ml/iris.git", "gitlab.com/acme/ml/iris"),
        ("git@gitlab.com:acme/ml/deep/iris.git", "gitlab.com/acme/ml/deep/iris"),
        ("https://gitlab.com/acme/iris", "gitlab.com/acme/iris"),
        ("ssh://git@altssh.gitlab.com:443/acme/ml/iris.git", "gitlab.com/acme/ml/iris"),
        ("ssh://git@altssh.bitbucket.org:443/acme/iris.git", "bitbucket.org/acme/iris"),
        ("https://ada@bitbucket.org/acme/iris.git", "bitbucket.org/acme/iris"),
        ("https://git.example.com:8443/iris", "git.example.com/iris"),
        ("https://github.com/acme/iris.github.io", "github.com/acme/iris.github.io"),
    ],
)
def test_the_name_holds_host_and_subgroups(url: str, name: str) -> None:
    assert repository_name(url) == name


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
def test_a_path_or_a_malformed_url_has_no_name(url: str) -> None:
    assert repository_name(url) is None

"""From the bytes of a config to a Config, or to an error that names the key."""

from pathlib import Path
from typing import Any

import pytest

from deployd.config.file import default_path, load, parse
from deployd.errors import ConfigError

APP = {"name": "iris", "repo": "https://example.com/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}


def _app(**changes: Any) -> dict[str, Any]:
    return {"app": [{**APP, **changes}]}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"server": {"prot": 1}}, "server.prot: unknown key (did you mean port?)"),
        ({"sever": {}}, "sever: unknown key (did you mean server?)"),
        ({"zzz": {}}, "zzz: unknown key"),
        (_app(docker={"prot": 1}), "app.iris.docker.prot: unknown key (did you mean port?)"),
        (_app(ready={"within": 60}), "app.iris.ready.within: expected a duration with a unit"),
        (_app(docker={"memory": "12"}), "app.iris.docker.memory: expected a size with a unit"),
        (_app(credentials="hunter2"), "app.iris.credentials: expected a reference to a secret"),
        (_app(repo="ftp://example.com/x"), "app.iris.repo: expected an https, ssh or file URL"),
        (_app(repo="https://user:pw@example.com/x"), "app.iris.repo: a URL must not hold a user name or token"),
        (_app(repo="/srv/iris"), "app.iris.repo: /srv/iris is on this machine"),
        (_app(branch="--upload-pack=x"), "app.iris.branch: expected a plain branch or tag name"),
        (_app(tag="v*"), "app.iris: exactly one of branch and tag"),
        (_app(build={"context": "../x"}), "app.iris.build.context: expected a path inside the repository"),
        (_app(gateway={}), "app.iris: [app.gateway] needs listen (a port) or hosts"),
        (_app(docker={"network": "host"}), 'app.iris: docker.network = "host" has one port for two releases'),
        (_app(target="kubernetes"), 'app.iris: target = "kubernetes" needs a table [app.kubernetes]'),
        (_app(name="Iris_1"), "name: String should match"),
        ({"app": [APP, {**APP, "name": "rose"}]}, "port 8000 is claimed by two apps (iris and rose)"),
        ({"app": [APP, APP]}, "the name iris is claimed by two apps"),
        (_app(gateway={"hosts": ["a.example.com"]}), "[gateway] needs http_port or https_port"),
        ({"gateway": {"https_port": 443}}, "gateway: https_port needs certificates"),
        (
            {"auth": {"tokens": [{"name": "ci", "role": "root", "sha256": "0" * 64}]}},
            "auth.tokens.ci.role: Input should be",
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_path(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(data)
    assert words in refused.value.message


def test_every_wrong_key_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"server": {"prot": 1, "port": "x"}, "git": {"poll_every": "often"}})
    assert len(refused.value.message.splitlines()) == 3


def test_the_secret_that_stands_where_a_reference_should_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"github": {"secrets": ["hunter2"]}})
    assert "hunter2" not in refused.value.message + refused.value.hint


def test_an_app_has_the_ref_and_the_repository_that_webhooks_name() -> None:
    (app,) = parse(_app(repo="git@example.com:Acme/Iris.git")).app
    assert (app.ref, app.repository) == ("refs/heads/main", "acme/iris")
    (app,) = parse({"app": [{**APP, "branch": None, "tag": "v*"}]}).app
    assert app.ref == "refs/tags/v*"


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match="No such file") as refused:
        load(file)
    assert "DEPLOYD_CONFIG" in refused.value.hint
    for content, words in (
        (b"[server", "not TOML"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[server]\nport = 1\nport = 2", "not TOML"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            load(file)


def test_a_relative_repository_is_taken_from_the_files_own_directory(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = (
        '[git]\nallow_file = true\n[[app]]\nname = "x"\nrepo = "./sub"\nbranch = "main"\ngateway = { listen = 8000 }\n'
    )
    file.write_text(text)
    assert load(file).app[0].repo == str(tmp_path / "sub")


def test_the_file_is_found_where_it_usually_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPLOYD_CONFIG", raising=False)
    assert default_path() == Path("/etc/deployd/config.toml")
    (tmp_path / "config.toml").touch()
    assert default_path() == Path("config.toml")
    monkeypatch.setenv("DEPLOYD_CONFIG", "/elsewhere")
    assert default_path() == Path("/elsewhere")

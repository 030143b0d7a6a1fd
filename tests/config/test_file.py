"""From the bytes of a config to a Config, or to an error that names the key."""

import copy
import errno
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from deployd.config.daemon import Config
from deployd.config.file import default_path, load, parse
from deployd.errors import ConfigError

APP = {"name": "iris", "repo": "https://example.com/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}


def _app(**changes: Any) -> dict[str, Any]:
    return {"app": [{**APP, **changes}]}


def _shared(first: tuple[str, str], second: tuple[str, str] | None = None) -> dict[str, Any]:
    """Two apps with a host and a path each."""
    wanted = {"iris": first, "rose": second or first}
    apps = [
        {**APP, "name": name, "gateway": {"hosts": [host], "path_prefix": path}}
        for name, (host, path) in wanted.items()
    ]
    return {"gateway": {"http_port": 80}, "app": apps}


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
        (_app(repo="https://user:pw@example.com/x"), "app.iris.repo: must not hold a user name or token"),
        (_app(repo="/srv/iris"), "app.iris.repo: /srv/iris is a path on this machine"),
        (_app(branch="--upload-pack=x"), "app.iris.branch: expected a plain branch or tag name"),
        (_app(tag="v*"), "app.iris: needs either branch or tag"),
        (_app(build={"stage": "1"}), "app.iris.build.stage: expected the name of a stage"),
        (_app(build={"context": "../x"}), "app.iris.build.context: expected a path inside the repository"),
        (_app(gateway={}), "app.iris: [app.gateway] needs listen (a port) or hosts"),
        (_app(docker={"network": "host"}), 'app.iris: docker.network = "host" gives two releases the same port'),
        (
            _app(gateway={"listen": 8000, "weights": [5, 100]}, docker={"start": "stop-first"}),
            'app.iris: gateway.weights needs docker.start = "first"',
        ),
        (
            _app(target="kubernetes", kubernetes={"namespace": "ml"}, gateway={"sticky": True}),
            'app.iris: gateway.sticky needs target = "docker": a Service of Kubernetes knows no cookies',
        ),
        (
            _app(target="kubernetes", kubernetes={"namespace": "ml"}, record={}),
            'app.iris: [app.record] needs target = "docker": requests on a cluster do not pass',
        ),
        (_app(target="kubernetes"), 'app.iris: target = "kubernetes" needs a table [app.kubernetes]'),
        (_app(name="Iris_1"), "app.Iris_1.name: expected lower-case letters, digits and hyphens"),
        (_app(name=5), "app.0.name: expected text in quotes"),
        (_app(docker={"env": {"PORT": 5000}}), 'app.iris.docker.env.PORT: write it in quotes: "5000"'),
        (_app(docker={"env": {"DEBUG": True}}), 'app.iris.docker.env.DEBUG: write it in quotes: "true"'),
        (_app(build={"args": {"PY": 3.11}}), 'app.iris.build.args.PY: write it in quotes: "3.11"'),
        (_app(docker={"env": {"A": "x\0y"}}), "app.iris.docker.env.A: must not hold a NUL character"),
        (_app(docker={"env": {"A\0": "x"}}), "app.iris.docker.env.A\\0: must not hold a NUL character"),
        (_app(docker={"command": ["a", "\0"]}), "app.iris.docker.command.1: must not hold a NUL character"),
        *(
            (_app(**{table: {"env": {name: "1"}}}), f"app.iris.{table}.env.{name}: expected the name of a variable")
            for table in ("docker", "kubernetes")
            for name in ("", "MY VAR", "A=B", "1A")
        ),
        (
            _app(docker={"env_secrets": {"A B": "env:X"}}),
            "app.iris.docker.env_secrets.A B: expected the name of a vari",
        ),
        *(
            (_app(gateway={"hosts": [name]}), "app.iris.gateway.hosts.0: expected a host name, such as")
            for name in ("", "*", "https://x", "x:8443", "x.", "a b", "x/y", "*.", "a.*.b", "-x", "a..b", "münchen.de")
        ),
        (_app(ready={"host": "https://x"}), "app.iris.ready.host: expected what a client sends as Host"),
        (_app(ready={"headers": {"A B": "1"}}), 'app.iris.ready.headers: "A B" is not the name of a header'),
        (_app(ready={"headers": {"X": "1\r\nY: 2"}}), 'app.iris.ready.headers: "X" is not the name of a header'),
        (_app(ready={"headers": {"Host": "x"}}), 'app.iris.ready.headers: the key "host" sets the host'),
        (_app(docker={"gpus": "two"}), 'app.iris.docker.gpus: expected "all" or a number'),
        (_app(docker={"gpus": -1}), 'app.iris.docker.gpus: expected "all" or a number'),
        (_app(docker={"cpus": 0}), "app.iris.docker.cpus: must be more than 0"),
        (_app(ready={"path": "v2"}), "app.iris.ready.path: must begin with /"),
        (_app(ready={"path": "/a b"}), "app.iris.ready.path: must not hold a space"),
        (_app(paths="docs/"), "app.iris.paths: expected a list in brackets"),
        *(
            (_app(paths=[text]), 'app.iris.paths.0: expected a pattern, such as "src/"')
            for text in ("", "!", "#x", "[z-a]")
        ),
        (_app(target="podman"), 'app.iris.target: expected "docker" or "kubernetes"'),
        (
            _app(kubernetes={"resources": {"limits": {"gpu": "1"}}}),
            'app.iris.kubernetes.resources.limits.gpu: expected "cpu" or "memory"',
        ),
        (_app(kubernetes={"replicas": 1.5}), "app.iris.kubernetes.replicas: expected a whole number"),
        (_app(build={"submodules": 3}), "app.iris.build.submodules: expected true or false"),
        ({"app": [{}]}, "app.0.name: is required"),
        ({"server": {"port": 70000}}, "server.port: must be at most 65535"),
        ({"server": {"port": "x"}}, "server.port: expected a whole number"),
        ({"server": 5}, "server: expected a table"),
        ({"app": APP}, "app: expected [[app]], with two brackets"),
        ({"server": {"state_dir": 5}}, "server.state_dir: expected a path in quotes"),
        ({"builder": {"concurrency": 0}}, "builder.concurrency: must be at least 1"),
        ({"app": [APP, {**APP, "name": "rose"}]}, "port 8000 is used by app iris and by app rose"),
        ({"app": [APP, APP]}, "the name iris is used twice by app iris"),
        ({"gateway": {"http_port": 8000}, "app": [APP]}, "port 8000 is used by gateway.http_port and by app iris"),
        (
            {"gateway": {"http_port": 80, "stats_port": 80}},
            "port 80 is used by gateway.http_port and by gateway.stats_port",
        ),
        (_shared(("*.x.org", "/")), "*.x.org is used by app iris and by app rose"),
        (_shared(("A.x.org", "/v1"), ("a.x.org", "/v1/")), "a.x.org/v1 is used by app iris and by app rose"),
        (_app(gateway={"hosts": ["a.org", "A.org"]}), "a.org is used twice by app iris"),
        (_app(gateway={"hosts": ["a.example.com"]}), "[gateway] needs http_port or https_port"),
        ({"gateway": {"https_port": 443}}, "gateway: https_port needs certificates"),
        ({"gateway": {"buffer": "8KiB"}}, 'gateway.buffer: must be at least "16KiB" and at most "1MiB"'),
        ({"gateway": {"trusted_proxies": ["lb"]}}, "gateway.trusted_proxies.0: expected an address or a network"),
        (_app(gateway={"listen": 1, "path_prefix": '/a"b'}), "app.iris.gateway.path_prefix: expected /, or a path"),
        (
            {"auth": {"tokens": [{"name": "ci", "role": "root", "sha256": "0" * 64}]}},
            'auth.tokens.ci.role: expected "read", "deploy" or "admin"',
        ),
    ],
)
def test_a_wrong_key_is_named_with_its_path(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(data)
    assert words in refused.value.message


def test_one_error_lists_every_wrong_key() -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"server": {"prot": 1, "port": "x"}, "git": {"poll_every": "often"}})
    assert len(refused.value.message.splitlines()) == 3


def test_a_secret_in_place_of_a_reference_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"github": {"secrets": ["hunter2"]}})
    assert "hunter2" not in refused.value.message + refused.value.hint


def test_an_app_has_the_ref_and_the_repository_that_webhooks_name() -> None:
    (app,) = parse(_app(repo="git@example.com:Acme/Iris.git")).app
    assert (app.ref, app.webhook_name) == ("refs/heads/main", "example.com/acme/iris")
    (app,) = parse({"app": [{**APP, "branch": None, "tag": "v*"}]}).app
    assert app.ref == "refs/tags/v*"


def test_a_mirror_or_a_path_can_say_what_webhooks_call_it() -> None:
    for repo in ("/srv/iris.git", "https://mirror.example.com/iris.git"):
        (app,) = parse({"git": {"allow_file": True}, **_app(repo=repo, webhook="GitHub.com/Acme/Iris")}).app
        assert app.webhook_name == "github.com/acme/iris"
    (app,) = parse({"git": {"allow_file": True}, **_app(repo="/srv/acme/iris.git")}).app
    assert app.webhook_name is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "acme/iris",
        "iris",
        "https://github.com/acme/iris",
        "git@github.com:acme/iris",
        "github.com/acme/iris.git",
        "github.com/acme/",
        "github.com//iris",
        "/acme/iris",
    ],
)
def test_a_webhook_name_must_be_host_and_full_path(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(_app(webhook=name))
    words = "app.iris.webhook: expected the repository's host and full path, such as github.com/acme/iris"
    assert words in refused.value.message


def test_the_hash_of_a_token_is_64_digits() -> None:
    with pytest.raises(ConfigError, match=r"auth\.tokens\.ci\.sha256: expected 64 hexadecimal digits"):
        parse({"auth": {"tokens": [{"name": "ci", "role": "read", "sha256": "abc"}]}})


@pytest.mark.parametrize("junk", [5.5, -1, "no such", "", True, ["x", 1], {"x": {}}], ids=repr)
def test_whatever_a_key_is_set_to_the_fault_is_told_in_our_words(junk: object) -> None:
    for path in _keys(Config):
        try:
            parse(_with(path, junk))
        except ConfigError as exc:
            for line in exc.message.splitlines():
                assert re.search(r"Input|should|valid|function-|literal\[|\[key\]", line) is None, line


def _keys(model: type[BaseModel], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        yield (*before, name)
        for inner in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _keys(inner, (*before, name))


def _with(path: tuple[str, ...], value: object) -> dict[str, Any]:
    data: dict[str, Any] = copy.deepcopy({"app": [APP]})
    table = data
    for name in path[:-1]:
        table = table.setdefault(name, {})
        table = table[0] if isinstance(table, list) else table
    table[path[-1]] = value
    return data


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    with pytest.raises(ConfigError, match="No such file") as refused:
        load(file)
    assert "DEPLOYD_CONFIG" in refused.value.hint
    for content, words in (
        (b"[server", "not TOML"),
        (b"\xff", r"not UTF-8 text \(byte 0\)"),
        (b"[server]\nport = 1\nport = 2", "not TOML"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=words):
            load(file)


def test_a_file_that_this_user_may_not_read_gives_a_hint_about_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigError, match="Permission denied") as refused:
        load(Path("/etc/deployd/config.toml"))
    assert "chown root:deployd /etc/deployd/config.toml" in refused.value.hint


def test_a_relative_repository_is_relative_to_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = (
        '[git]\nallow_file = true\n[[app]]\nname = "x"\nrepo = "./sub"\nbranch = "main"\ngateway = { listen = 8000 }\n'
    )
    file.write_text(text)
    assert load(file).app[0].repo == str(tmp_path / "sub")


def test_the_config_file_is_looked_for_in_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DEPLOYD_CONFIG", raising=False)
    assert default_path() == Path("/etc/deployd/config.toml")
    (tmp_path / "config.toml").touch()
    assert default_path() == Path("config.toml")
    monkeypatch.setenv("DEPLOYD_CONFIG", "/elsewhere")
    assert default_path() == Path("/elsewhere")


@pytest.mark.parametrize(
    ("github", "words"),
    [
        ({}, 'app iris has require = "checks": [github] needs a token, or a table [github.app]'),
        (
            {"token": "env:T", "api_url": "https://github.example.com/api/v3"},
            'app iris has require = "checks": its repository is not on the GitHub of https://github.example.com/api/v3',
        ),
    ],
)
def test_checks_can_be_required_only_where_they_can_be_asked_for(github: dict[str, Any], words: str) -> None:
    app = _app(require="checks", webhook="github.com/acme/iris")
    with pytest.raises(ConfigError) as refused:
        parse({**app, "github": github})
    assert words in str(refused.value)
    assert parse({**app, "github": {"token": "env:T"}}).app[0].checks.within == 3600


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"tag": "v*", "branch": None}, "prove_pull_requests needs branch"),
        ({"docker": {"start": "stop-first"}}, "prove_pull_requests needs docker.start"),
    ],
)
def test_pull_requests_can_be_proven_only_for_a_branch_and_beside_what_serves(keys: dict[str, Any], words: str) -> None:
    app = _app(prove_pull_requests=True, **keys)
    with pytest.raises(ConfigError) as refused:
        parse({"app": [{name: value for name, value in app["app"][0].items() if value is not None}]})
    assert words in str(refused.value)

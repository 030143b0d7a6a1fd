"""What [app.docker] takes, and what it says of the rest."""

from typing import Any

import pytest

from deployd.config.docker import DockerApp, ulimit_parts, volume_parts
from deployd.config.file import parse
from deployd.errors import ConfigError


def fault(**docker: Any) -> str:
    app = {"name": "iris", "repo": "https://example.com/a/iris", "branch": "main", "gateway": {"listen": 8000}}
    with pytest.raises(ConfigError) as refused:
        parse({"app": [{**app, "docker": docker}]})
    return refused.value.message


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        ("./data:/data", "expected a whole path of the host"),
        ("../data:/data", "expected a whole path of the host"),
        ("~/x:/x", "~ is not known here"),
        ("data", 'expected "NAME:/path" or "/host/path:/path"'),
        ("", 'expected "NAME:/path" or "/host/path:/path"'),
        ("data:", 'expected "NAME:/path" or "/host/path:/path"'),
        ("data:data", 'expected "NAME:/path" or "/host/path:/path"'),
        ("data:/", 'expected "NAME:/path" or "/host/path:/path"'),
        ("a b:/data", '"a b" is neither a path of the host'),
        ("srv/data:/data", '"srv/data" is neither a path of the host'),
        ("x:/data", '"x" is neither a path of the host'),
        ("data:/data:r", 'unknown option "r"'),
        ("data:/data:ro:rw", 'expected "NAME:/path" or "/host/path:/path"'),
    ],
)
def test_a_volume_that_no_engine_takes_is_refused_with_what_to_write(volume: str, words: str) -> None:
    assert f"app.iris.docker.volumes.0: {words}" in fault(volumes=[volume])


@pytest.mark.parametrize(
    ("volume", "parts"),
    [
        ("/srv/data:/data:ro", ("/srv/data", "/data", {"ro"})),
        ("data:/data", ("data", "/data", set())),
        ("/cache", ("", "/cache", set())),
        ("/srv:/srv:Z,rslave", ("/srv", "/srv", {"Z", "rslave"})),
    ],
)
def test_a_volume_is_what_docker_run_takes(volume: str, parts: tuple[str, str, set[str]]) -> None:
    assert DockerApp(volumes=(volume,)).volumes == (volume,)
    assert volume_parts(volume) == (*parts[:2], frozenset(parts[2]))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("memory", "1MiB", "memory: must be at least 6MiB"),
        ("network", "none", "network: expected the name of a network"),
        ("network", "container:x", "network: expected the name of a network"),
        ("network", "my net", "network: expected the name of a network"),
        ("tmpfs", ["run"], "tmpfs.0: expected a path in the container"),
        ("tmpfs", ["/"], "tmpfs.0: expected a path in the container"),
        ("devices", ["fuse"], "devices.0: expected a device"),
        ("devices", ["/dev/a:x"], "devices.0: expected a device"),
        ("cap_add", ["SYS ADMIN"], "cap_add.0: expected the name of a capability"),
        ("ipc", "shared", "ipc: expected"),
        ("ulimits", {"nofiles": 5}, 'ulimits.nofiles: expected "core"'),
        ("ulimits", {"nofile": "many"}, "ulimits.nofile: expected a number"),
        ("ulimits", {"nofile": True}, "ulimits.nofile: expected a number"),
        ("extra_hosts", ["db"], "extra_hosts.0: expected"),
        ("extra_hosts", ["db:host"], "extra_hosts.0: expected"),
        ("dns", ["dns.example.com"], "dns.0: expected an IP address"),
        ("sysctls", {"net": {"core": {"somaxconn": "1"}}}, 'sysctls: a name with dots needs quotes: "net.core"'),
        ("sysctls", {"net.core.somaxconn": 1}, 'sysctls.net.core.somaxconn: write it in quotes: "1"'),
        ("labels", {"traefik": {"enable": "true"}}, 'labels: a name with dots needs quotes: "traefik.enable"'),
        ("labels", {"io.deployd.app": "x"}, "labels: io.deployd.app: the labels that begin with io.deployd."),
        ("labels", {"": "x"}, 'labels: "" is not a valid name for a label'),
        ("command", "python -m x", "command: expected a list in brackets"),
        ("user", 1000, "user: expected text in quotes"),
        ("pids_limit", -1, "pids_limit: must be at least 0"),
        ("init", "maybe", "init: expected true or false"),
        ("log", {"driver": "x", "opts": {}}, "log.opts: unknown key (did you mean options?)"),
    ],
)
def test_a_wrong_option_is_refused_in_our_words(key: str, value: object, words: str) -> None:
    assert f"app.iris.docker.{words}" in fault(**{key: value})


def test_two_things_at_one_place_in_the_container_are_refused() -> None:
    assert "app.iris.docker: volumes and tmpfs mount two things at /data" in fault(
        volumes=["data:/data"], tmpfs=["/data/:size=1m"]
    )


def test_a_capability_is_written_in_any_case() -> None:
    assert DockerApp(cap_add=("net_admin",)).cap_add == ("NET_ADMIN",)


@pytest.mark.parametrize(("value", "limits"), [(1024, (1024, 1024)), ("1024:2048", (1024, 2048)), (-1, (-1, -1))])
def test_a_ulimit_has_a_soft_and_a_hard_limit(value: int | str, limits: tuple[int, int]) -> None:
    (given,) = DockerApp(ulimits={"nofile": value}).ulimits.values()
    assert ulimit_parts(given) == limits

from typing import Any

from deployd.check.podman import NO_NETWORK, limits
from deployd.config.daemon import Config


def a_config(**app: Any) -> Config:
    usual = {"name": "iris", "repo": "/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    server = {"instance": "here", "state_dir": "/var/lib/deployd"}
    return Config.model_validate({"server": server, "app": [usual | app]})


def test_a_user_of_podman_is_told_that_an_empty_network_goes() -> None:
    (told,) = limits(a_config())
    assert (told.verdict, told.detail) == ("warning", NO_NETWORK)
    assert told.hint == "keep any other container running in the network deployd-here"


def test_an_app_in_the_network_of_the_host_needs_none() -> None:
    assert not list(limits(a_config(docker={"network": "host", "start": "stop-first"})))

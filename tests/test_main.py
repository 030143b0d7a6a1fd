"""What a reload takes up, and what it leaves to the next restart."""

from typing import Any

import pytest

from deployd.config.daemon import Config
from deployd.config.file import parse
from deployd.main import taken_up

REGISTRY = {"url": "registry.example.com"}


def _config(**sections: Any) -> Config:
    return parse(sections)


def test_a_config_that_is_the_same_takes_no_restart() -> None:
    config = _config(registry=REGISTRY)
    assert taken_up(config, _config(registry=REGISTRY)) == (config, [])


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("server", "max_body", "1MiB"),
        ("server", "state_dir", "/elsewhere"),
        ("builder", "concurrency", 7),
        ("gateway", "image", "haproxy:3.0"),
        ("git", "timeout", "1s"),
        ("registry", "insecure", True),
    ],
)
def test_what_was_handed_out_at_the_start_is_named_and_stays_as_it_was(section: str, key: str, value: Any) -> None:
    old = _config(registry=REGISTRY)
    more = REGISTRY if section == "registry" else {}
    new = _config(**{"registry": REGISTRY, section: {**more, key: value}})
    now, waiting = taken_up(old, new)
    assert waiting == [f"{section}.{key}"]
    assert now == old


def test_what_is_looked_up_when_it_is_needed_takes_no_restart() -> None:
    server = {"base_url": "https://d.example.com", "allowed_hosts": ["d.example.com"], "trusted_proxies": ["10.0.0.1"]}
    new = _config(server=server, git={"poll_every": "1h"}, retention={"images": 9})
    assert taken_up(_config(), new) == (new, [])


def test_what_takes_no_restart_is_taken_up_beside_what_does() -> None:
    now, waiting = taken_up(_config(), _config(git={"poll_every": "1h", "timeout": "1s"}, server={"port": 99}))
    assert waiting == ["server.port", "git.timeout"]
    assert (now.git.poll_every, now.git.timeout, now.server.port) == (3600, _config().git.timeout, 8081)


def test_a_registry_that_comes_or_goes_takes_a_restart() -> None:
    without, with_one = _config(), _config(registry=REGISTRY)
    assert taken_up(without, with_one) == (without, ["registry"])
    assert taken_up(with_one, without) == (with_one, ["registry"])

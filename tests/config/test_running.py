"""The config that counts now, who is told when it is replaced, and what a reload leaves to the next restart."""

from typing import Any

import pytest

from deployd.config.daemon import Config
from deployd.config.file import parse
from deployd.config.running import Running, taken_up
from deployd.errors import ConfigError
from tests.desk import settings

REGISTRY = {"url": "registry.example.com"}


def _config(*names: str) -> Config:
    return parse(settings(*names))


def _parsed(**sections: Any) -> Config:
    return parse(sections)


def test_an_app_is_found_by_its_name() -> None:
    running = Running(_config("iris", "rose"))
    assert [app.name for app in running.apps] == ["iris", "rose"]
    found = running.app("rose")
    assert found is running.apps[1]
    assert running.app("lily") is None


def test_the_config_that_came_last_counts() -> None:
    running = Running(_config("iris"))
    after = _config("rose")
    running.replace(after)
    assert running.config is after
    assert running.app("iris") is None
    assert running.app("rose") is not None


def test_listeners_get_each_new_config_in_the_order_in_which_they_were_added() -> None:
    running = Running(_config("iris"))
    told: list[tuple[str, Config]] = []
    running.tell(lambda config: told.append(("first", config)))
    running.tell(lambda config: told.append(("second", running.config)))
    assert told == []
    for config in (_config("rose"), _config("lily")):
        running.replace(config)
        assert told[-2:] == [("first", config), ("second", config)]
    assert len(told) == 4


def test_what_may_fail_is_prepared_before_a_config_counts_and_used_in_its_turn() -> None:
    running = Running(_config("iris"))
    told: list[str] = []
    running.tell(lambda _: told.append("first"))
    running.tell_prepared(lambda new: f"{new.app[0].name}, prepared beside {running.apps[0].name}", told.append)
    running.tell(lambda _: told.append("last"))
    running.replace(_config("rose"))
    assert told == ["first", "rose, prepared beside iris", "last"]


def test_a_config_that_somebody_refuses_changes_nothing() -> None:
    def refuse(new: Config) -> None:
        raise ConfigError(f"no {new.app[0].name} here")

    before = _config("iris")
    running = Running(before)
    told: list[object] = []
    running.tell(told.append)
    running.tell_prepared(lambda new: new, told.append)
    running.tell_prepared(refuse, told.append)
    with pytest.raises(ConfigError, match="no rose here"):
        running.replace(_config("rose"))
    assert running.config is before
    assert running.app("rose") is None
    assert told == []


def test_a_config_that_is_the_same_takes_no_restart() -> None:
    config = _parsed(registry=REGISTRY)
    assert taken_up(config, _parsed(registry=REGISTRY)) == (config, [])


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
def test_a_changed_key_that_needs_a_restart_is_named_and_keeps_its_value(section: str, key: str, value: Any) -> None:
    old = _parsed(registry=REGISTRY)
    more = REGISTRY if section == "registry" else {}
    new = _parsed(**{"registry": REGISTRY, section: {**more, key: value}})
    now, waiting = taken_up(old, new)
    assert waiting == [f"{section}.{key}"]
    assert now == old


def test_a_changed_key_that_is_read_on_use_needs_no_restart() -> None:
    server = {"base_url": "https://d.example.com", "allowed_hosts": ["d.example.com"], "trusted_proxies": ["10.0.0.1"]}
    new = _parsed(server=server, git={"poll_every": "1h"}, retention={"images": 9})
    assert taken_up(_parsed(), new) == (new, [])


def test_keys_without_restart_are_taken_up_though_others_need_one() -> None:
    now, waiting = taken_up(_parsed(), _parsed(git={"poll_every": "1h", "timeout": "1s"}, server={"port": 99}))
    assert waiting == ["server.port", "git.timeout"]
    assert (now.git.poll_every, now.git.timeout, now.server.port) == (3600, _parsed().git.timeout, 8081)


def test_a_registry_that_comes_or_goes_takes_a_restart() -> None:
    without, with_one = _parsed(), _parsed(registry=REGISTRY)
    assert taken_up(without, with_one) == (without, ["registry"])
    assert taken_up(with_one, without) == (with_one, ["registry"])

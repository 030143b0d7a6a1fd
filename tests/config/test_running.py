"""The config that counts now, and who is told when it is replaced."""

from deployd.config.daemon import Config
from deployd.config.file import parse
from deployd.config.running import Running
from tests.desk import settings


def _config(*names: str) -> Config:
    return parse(settings(*names))


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


def test_who_has_to_act_is_told_of_each_config_that_comes_in_the_order_of_asking() -> None:
    running = Running(_config("iris"))
    told: list[tuple[str, Config]] = []
    running.tell(lambda config: told.append(("first", config)))
    running.tell(lambda config: told.append(("second", running.config)))
    assert told == []
    for config in (_config("rose"), _config("lily")):
        running.replace(config)
        assert told[-2:] == [("first", config), ("second", config)]
    assert len(told) == 4

"""[[app.gate]] and [[app.hook]]: what may stand there, and what is said of what may not."""

from typing import Any

import pytest

from deployd.config.app import App
from deployd.config.file import parse
from deployd.errors import ConfigError


def _app(**sections: Any) -> App:
    named = {"name": "iris", "repo": "https://example.com/acme/iris.git", "branch": "main", "gateway": {"listen": 80}}
    return parse({"app": [{**named, **sections}]}).app[0]


def test_text_is_for_a_shell_and_a_list_is_not() -> None:
    app = _app(gate=[{"name": "a", "command": "x | y"}, {"name": "b", "command": ["x", "|"]}])
    assert [gate.command for gate in app.gate] == [("/bin/sh", "-c", "x | y"), ("x", "|")]
    assert (app.gate[0].timeout, app.gate[0].memory) == (60, 2**30)


def test_a_hook_runs_after_the_switch_unless_it_says_otherwise() -> None:
    app = _app(hook=[{"name": "a", "url": "https://example.com/hook"}, {"name": "b", "command": "x", "when": "before"}])
    assert [hook.when for hook in app.hook] == ["after", "before"]


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ({"command": "x"}, "app.iris.gate.0.name: is required"),
        ({"name": "a"}, "app.iris.gate.a: needs either command or url, and not both"),
        (
            {"name": "a", "command": "x", "url": "http://x/"},
            "app.iris.gate.a: needs either command or url, and not both",
        ),
        ({"name": "golden", "command": "x"}, "app.iris.gate.golden.name: golden is a step of deployd itself"),
        ({"name": "a", "command": []}, "app.iris.gate.a.command: expected a list"),
        ({"name": "a", "command": 3}, "app.iris.gate.a.command: expected a list"),
        ({"name": "a", "command": " "}, "app.iris.gate.a.command: must not be empty"),
        ({"name": "a", "url": "ftp://x/"}, "app.iris.gate.a.url: expected an http or https URL"),
        ({"name": "a", "url": "http://u:p@x/"}, "app.iris.gate.a.url: must not hold a user name"),
        ({"name": "a", "command": "x", "timeout": "0"}, "app.iris.gate.a.timeout: must be more than 0"),
        ({"name": "a", "command": "x", "memory": "1MiB"}, 'app.iris.gate.a.memory: must be at least "16MiB"'),
        ({"name": "a", "command": "x", "comand": "y"}, "app.iris.gate.a.comand: unknown key (did you mean command?)"),
    ],
)
def test_a_fault_of_a_gate_is_named_with_its_path(gate: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _app(gate=[gate])
    assert said in refused.value.message


@pytest.mark.parametrize("kind", ["gate", "hook"])
def test_two_of_a_kind_have_two_names(kind: str) -> None:
    one = {"name": "a", "command": "x"}
    with pytest.raises(ConfigError, match=f"app.iris.{kind}: two of them have the name a"):
        _app(**{kind: [one, one]})
    _app(gate=[one], hook=[one])


def test_a_gate_after_the_switch_needs_a_watch_which_can_go_back() -> None:
    after = {"name": "a", "command": "x", "when": "after"}
    with pytest.raises(ConfigError, match=r'when = "after" needs \[app.watch\]'):
        _app(gate=[after])
    assert _app(gate=[after], watch={}).gate[0].when == "after"

from typing import Any

import pytest

from deployd.config.app import App
from deployd.config.digest import app_digest, release_digest

KUBERNETES = {"target": "kubernetes", "kubernetes": {"namespace": "ml"}}


def an_app(**more: Any) -> App:
    given = {"name": "iris", "repo": "https://example.com/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    return App.model_validate(given | more)


@pytest.mark.parametrize(
    "changed",
    [
        {"docker": {"env": {"MODE": "fast"}}},
        {"docker": {"env_secrets": {"TOKEN": "env:TOKEN"}}},
        {"docker": {"memory": "1GiB"}},
        {"docker": {"port": 8000}},
        KUBERNETES,
    ],
)
def test_settings_of_the_container_change_the_digest(changed: dict[str, Any]) -> None:
    assert release_digest(an_app(**changed)) != release_digest(an_app())


@pytest.mark.parametrize(
    "changed",
    [
        {"docker": {"port": 5000}},
        {"docker": {"drain": "1m", "start": "stop-first"}},
        {"gateway": {"listen": 8001}},
        {"branch": "next"},
        {"build": {"args": {"A": "b"}}},
        {"golden": {"file": "golden.json"}},
    ],
)
def test_other_settings_and_explicit_defaults_do_not_change_the_digest(changed: dict[str, Any]) -> None:
    assert release_digest(an_app(**changed)) == release_digest(an_app())


def test_settings_of_a_foreign_deployment_do_not_change_the_digest() -> None:
    theirs = {"namespace": "ml", "create": False}
    changed = {**theirs, "env": {"MODE": "fast"}}
    assert release_digest(an_app(target="kubernetes", kubernetes=theirs)) == release_digest(
        an_app(target="kubernetes", kubernetes=changed)
    )


def test_settings_of_the_pod_template_change_the_digest() -> None:
    before = an_app(**KUBERNETES)
    for settings in ({"env": {"MODE": "fast"}}, {"resources": {"limits": {"memory": "1Gi"}}}):
        after = an_app(target="kubernetes", kubernetes={"namespace": "ml", **settings})
        assert release_digest(after) != release_digest(before)
    assert release_digest(an_app(**KUBERNETES, ready={"host": "iris.example.com"})) != release_digest(before)
    slower = an_app(target="kubernetes", kubernetes={"namespace": "ml", "bake": "1m", "progress_deadline": "1m"})
    assert release_digest(slower) == release_digest(before)


def test_everything_of_an_app_counts_for_another_try() -> None:
    for changed in ({"golden": {"file": "golden.json"}}, {"build": {"args": {"A": "b"}}}, {"docker": {"port": 8000}}):
        assert app_digest(an_app(**changed)) != app_digest(an_app())

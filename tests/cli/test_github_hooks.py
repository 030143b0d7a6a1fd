"""Webhooks by GitHub's API, against a small GitHub on loopback."""

from collections.abc import Iterator

import pytest

from deployd.cli.github_hooks import GitHubHooks
from deployd.errors import RequestRefused, Unavailable
from tests.github import GitHub, github

URL = "https://deployd.example.com/webhooks/github"


@pytest.fixture
def hub() -> Iterator[GitHub]:
    with github("token", "acme/iris") as running:
        yield running


def _attempt(number: int, guid: str, code: int) -> dict[str, object]:
    said = "OK" if code == 200 else "failed to connect"
    return {
        "id": number,
        "guid": guid,
        "event": "push",
        "delivered_at": f"at {number}",
        "status": said,
        "status_code": code,
    }


@pytest.mark.slow
def test_install_makes_one_webhook_and_then_updates_it(hub: GitHub) -> None:
    hub.hooks[1] = {"config": {"url": "https://elsewhere.example.com"}, "events": ["push"]}
    with GitHubHooks(hub.url, "token", "acme/iris") as hooks:
        assert hooks.install(URL, "old") == (2, True)
        assert hooks.install(URL, "new") == (2, False)
    assert hub.hooks[2]["config"] == {"url": URL, "content_type": "json", "secret": "new", "insecure_ssl": "0"}
    assert (hub.hooks[2]["events"], hub.hooks[2]["active"]) == (["push"], True)
    assert "secret" not in hub.hooks[1]["config"]


@pytest.mark.slow
def test_a_delivery_is_lost_when_no_attempt_succeeded(hub: GitHub) -> None:
    hub.hooks[1] = {"config": {"url": URL}}
    hub.deliveries = [
        _attempt(9, "a", 502),
        _attempt(8, "b", 200),
        _attempt(7, "c", 0),
        _attempt(6, "b", 500),
        _attempt(5, "a", 0),
    ]
    with GitHubHooks(hub.url, "token", "acme/iris") as hooks:
        lost = hooks.lost(URL)
        assert [(one.guid, one.delivered_at) for one in lost] == [("c", "at 7"), ("a", "at 9")]
        for one in lost:
            hooks.redeliver(one)
    assert hub.redelivered == [7, 9]


@pytest.mark.slow
def test_a_token_without_the_right_is_refused_with_the_right_that_it_needs(hub: GitHub) -> None:
    for token, repository in (("wrong", "acme/iris"), ("token", "acme/other")):
        with (
            GitHubHooks(hub.url, token, repository) as hooks,
            pytest.raises(RequestRefused, match="does not let this token") as no,
        ):
            hooks.install(URL, "secret")
        assert "Webhooks: read and write" in no.value.hint


@pytest.mark.slow
def test_asking_for_lost_deliveries_of_a_missing_webhook_is_an_error(hub: GitHub) -> None:
    with GitHubHooks(hub.url, "token", "acme/iris") as hooks, pytest.raises(RequestRefused, match="has no webhook"):
        hooks.lost(URL)


@pytest.mark.slow
def test_a_github_that_does_not_answer_is_unavailable() -> None:
    with github("token", "acme/iris") as hub:
        pass
    with GitHubHooks(hub.url, "token", "acme/iris") as hooks, pytest.raises(Unavailable, match="does not answer"):
        hooks.lost(URL)

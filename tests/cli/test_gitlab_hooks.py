"""A project's webhooks by GitLab's API, where they can sign and where they cannot."""

from collections.abc import Iterator

import pytest

from deployd.cli.gitlab_hooks import GitLabHooks
from deployd.errors import RequestRefused
from tests.forges.payloads import SIGNING_TOKEN
from tests.hooks_api import HooksApi, hooks_api

URL = "https://deployd.example.com/webhooks/gitlab"


@pytest.fixture
def lab() -> Iterator[HooksApi]:
    with hooks_api("/projects/acme%2Fml%2Firis/hooks", ("PRIVATE-TOKEN", "t")) as running:
        yield running


def test_a_webhook_is_told_its_secret_token_and_both_events(lab: HooksApi) -> None:
    with GitLabHooks(lab.url, "t", "acme/ml/iris") as hooks:
        assert hooks.install(URL, "secret") == (1, True)
        assert hooks.install(URL, "new") == (1, False)
    expected = {
        "url": URL,
        "push_events": True,
        "tag_push_events": True,
        "enable_ssl_verification": True,
        "token": "new",
    }
    assert lab.hooks == {1: expected}


def test_a_webhook_is_told_its_signing_token(lab: HooksApi) -> None:
    lab.knows["signing_token_present"] = True
    with GitLabHooks(lab.url, "t", "acme/ml/iris") as hooks:
        assert hooks.install(URL, SIGNING_TOKEN) == (1, True)
    assert (lab.hooks[1]["signing_token"], "token" in lab.hooks[1]) == (SIGNING_TOKEN, False)


def test_a_gitlab_that_ignores_the_signing_token_is_told_of(lab: HooksApi) -> None:
    with GitLabHooks(lab.url, "t", "acme/ml/iris") as hooks, pytest.raises(RequestRefused, match="does not sign") as no:
        hooks.install(URL, SIGNING_TOKEN)
    assert "secret token" in no.value.hint

"""A repository's webhooks by the two APIs of Bitbucket."""

from typing import Any

import httpx
import pytest

from deployd.cli.bitbucket_hooks import BitbucketHooks

URL = "https://deployd.example.com/webhooks/bitbucket"


class Asked(BitbucketHooks):
    """Records what it is to send, and answers as if there were no webhook yet or one with `found`."""

    def __init__(self, api_url: str, repository: str, found: list[dict[str, Any]]) -> None:
        super().__init__(api_url, "t", repository)
        self.found, self.asked = found, list[tuple[str, str, Any]]()

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        self.asked.append((method, path, body))
        said = {"values": self.found} if method == "GET" else {"uuid": "{a-b}", "id": 7}
        return httpx.Response(200, json=said)


@pytest.mark.parametrize(
    ("found", "method", "path"), [([], "POST", ""), ([{"url": URL, "uuid": "{a-b}"}], "PUT", "/%7Ba-b%7D")]
)
def test_a_webhook_on_cloud(found: list[dict[str, Any]], method: str, path: str) -> None:
    with Asked("https://api.bitbucket.org/2.0", "acme/iris", found) as hooks:
        assert hooks.install(URL, "secret") == ("{a-b}", not found)
    wanted = {"description": "deployd", "url": URL, "active": True, "secret": "secret", "events": ["repo:push"]}
    assert hooks.asked[-1] == (method, f"/repositories/acme/iris/hooks{path}", wanted)


@pytest.mark.parametrize("repository", ["acme/iris", "scm/acme/iris", "bitbucket/scm/acme/iris"])
def test_a_webhook_on_data_center_by_any_of_its_addresses(repository: str) -> None:
    with Asked("https://bitbucket.example.com/rest/api/1.0", repository, [{"url": "https://other", "id": 3}]) as hooks:
        assert hooks.install(URL, "secret") == ("7", True)
    wanted = {
        "name": "deployd",
        "url": URL,
        "active": True,
        "configuration": {"secret": "secret"},
        "events": ["repo:refs_changed"],
    }
    assert hooks.asked[-1] == ("POST", "/projects/acme/repos/iris/webhooks", wanted)


def test_the_repository_of_a_person_keeps_its_tilde() -> None:
    with Asked("https://bitbucket.example.com/rest/api/1.0", "scm/~ada/iris", []) as hooks:
        hooks.install(URL, "secret")
    assert hooks.asked[-1][1] == "/projects/~ada/repos/iris/webhooks"

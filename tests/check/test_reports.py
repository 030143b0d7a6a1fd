"""What `deployd check` finds of what is told outside."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployd.check.reports import reported
from deployd.config.file import parse
from tests.conftest import needed
from tests.reporters.fake_github import FakeGitHub, fake_github
from tests.reporters.given import TOKEN
from tests.testbed import github_description


@pytest.fixture
async def hub() -> AsyncIterator[FakeGitHub]:
    """A GitHub on loopback."""
    needed(github_description.ensure)
    async with fake_github() as serving:
        yield serving


async def _found(**sections: Any) -> list[tuple[str, str]]:
    app = {"name": "iris", "repo": "https://127.0.0.1/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    other = app | {"name": "rose", "repo": "https://example.com/acme/rose.git", "gateway": {"listen": 8001}}
    return [(one.verdict, one.detail) for one in await reported(parse({"app": [app, other], **sections}))]


async def test_nothing_is_said_where_nothing_is_told() -> None:
    assert await _found() == []


@pytest.mark.parametrize("how", ["deployments", "statuses"])
async def test_each_app_on_github_is_asked_for_and_each_elsewhere_is_named(
    hub: FakeGitHub, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    assert await _found(github={"report": how, "token": "env:TOKEN", "api_url": hub.url}) == [
        ("ok", f"iris is shown as {how} of acme/iris"),
        ("warning", "github.report: rose is not shown, since its repository is not on 127.0.0.1"),
    ]
    hub.repositories.clear()
    (iris, said), _ = await _found(github={"report": how, "token": "env:TOKEN", "api_url": hub.url})
    assert (iris, said.startswith("iris cannot be shown: GitHub answered 404")) == ("wrong", True)
    monkeypatch.setenv("TOKEN", "ghp_wrong")
    (iris, said), _ = await _found(github={"report": how, "token": "env:TOKEN", "api_url": hub.url})
    assert (iris, "401" in said, "ghp_wrong" in said) == ("wrong", True, False)


async def test_the_checks_that_an_app_requires_are_asked_for(
    hub: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    app = {"name": "iris", "repo": "https://127.0.0.1/acme/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    strict = parse({"app": [app | {"require": "checks"}], "github": {"token": "env:TOKEN", "api_url": hub.url}})
    said = "iris is deployed when the checks and statuses of its commit in acme/iris are green"
    assert [(one.verdict, one.detail) for one in await reported(strict)] == [("ok", said)]
    hub.repositories.clear()
    ((verdict, said),) = [(one.verdict, one.detail) for one in await reported(strict)]
    assert verdict == "wrong"
    assert said.startswith("the checks that iris requires cannot be asked for: GitHub answered 404")
    monkeypatch.delenv("TOKEN")
    assert [one.verdict for one in await reported(strict)] == ["wrong"]


async def test_a_key_that_is_none_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    app = {"id": 123, "key": f"file:{tmp_path}/key"}
    assert await _found(github={"report": "statuses", "app": app}) == [
        ("wrong", "github.app.key: it is not a private key for RS256")
    ]


@pytest.mark.slow
async def test_a_url_that_apprise_does_not_know_is_wrong_and_stays_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOD", "json://127.0.0.1/hidden-token")
    monkeypatch.setenv("BAD", "slock://hidden-token")
    (good, said), (bad, why) = await _found(notify={"urls": ["env:GOOD", "env:BAD", "env:NOT_THERE"]})
    assert (good, bad) == ("ok", "wrong")
    assert why == 'notify.urls[1]: Apprise cannot use the URL: it knows no service for "slock://" with these parts'
    assert "hidden" not in said + why


@pytest.mark.parametrize(
    ("section", "key", "why"),
    [
        ({"report": "deployments"}, "github", "needs a token or a table"),
        ({"report": "yes"}, "github.report", "deployments"),
        ({"api_url": "github.com"}, "github.api_url", "expected a URL"),
        ({"app": {"id": 1, "key": "-----BEGIN"}}, "github.app.key", "reference"),
    ],
)
def test_a_wrong_section_is_told_by_its_key(section: dict[str, Any], key: str, why: str) -> None:
    with pytest.raises(Exception, match=why) as wrong:
        parse({"github": section})
    assert key in str(wrong.value)

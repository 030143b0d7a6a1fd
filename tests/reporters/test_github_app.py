"""Tokens of a GitHub App: found, taken, narrowed, renewed, and refused with a hint."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deployd.errors import ConfigError
from deployd.reporters.github_api import GitHubApi, Wire
from deployd.reporters.github_app import AppTokens
from deployd.reporters.reporter import Refused
from tests.reporters.fake_github import App, FakeGitHub

RIGHTS = {"deployments": "write", "checks": "write"}
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


@pytest.fixture
async def wire(hub: FakeGitHub) -> AsyncIterator[Wire]:
    """To a GitHub that knows the App and takes no other token."""
    hub.app = App("Iv23li", KEY.public_key())
    hub.tokens.clear()
    wire = Wire(hub.url, pace=0)
    yield wire
    await wire.close()


def _tokens(wire: Wire, app: str = "Iv23li", installation: int | None = None) -> AppTokens:
    return AppTokens(wire, app, PEM, installation, RIGHTS)


async def _asked(wire: Wire, tokens: AppTokens) -> None:
    asked = {"sha": "a" * 40, "environment": "iris"}
    assert await GitHubApi(wire, tokens).ask(list[int], "GET", "acme/iris", "/deployments", asked=asked) == []


async def test_a_token_is_taken_for_one_repository_and_used_again(hub: FakeGitHub, wire: Wire) -> None:
    tokens = _tokens(wire)
    await _asked(wire, tokens)
    await _asked(wire, tokens)
    assert hub.app is not None
    assert hub.app.taken == [{"repositories": ["iris"], "permissions": RIGHTS}]


async def test_a_token_is_renewed_before_it_ends(hub: FakeGitHub, wire: Wire) -> None:
    assert hub.app is not None
    hub.app.lasts = timedelta(minutes=9)
    tokens = _tokens(wire, installation=7)
    await _asked(wire, tokens)
    await _asked(wire, tokens)
    assert len(hub.app.taken) == 2


async def test_a_token_that_was_revoked_is_renewed_once(hub: FakeGitHub, wire: Wire) -> None:
    tokens = _tokens(wire)
    await _asked(wire, tokens)
    hub.tokens.clear()
    await _asked(wire, tokens)
    assert hub.app is not None
    assert len(hub.app.taken) == 2


async def test_a_right_that_the_app_has_not_is_named(hub: FakeGitHub, wire: Wire) -> None:
    assert hub.app is not None
    hub.app.permissions = {"deployments": "write"}
    with pytest.raises(Refused, match="not granted") as refused:
        await _asked(wire, _tokens(wire))
    assert not refused.value.forever
    assert "checks (write)" in refused.value.hint


async def test_another_apps_id_is_told(wire: Wire) -> None:
    with pytest.raises(Refused, match="401") as refused:
        await _asked(wire, _tokens(wire, app="other"))
    assert refused.value.everything
    assert "id and key must be of the same App" in refused.value.hint


def test_a_key_with_written_line_ends_is_a_key_and_other_text_is_none() -> None:
    wire = Wire("http://127.0.0.1:1")
    AppTokens(wire, "Iv23li", PEM.replace("\n", "\\n"), None, RIGHTS)
    for wrong in ("no key", PEM[:300]):
        with pytest.raises(ConfigError, match="not a private key"):
            AppTokens(wire, "Iv23li", wrong, None, RIGHTS)

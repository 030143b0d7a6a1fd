import os
import pwd
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deployd.cli.app import app
from deployd.config.daemon import Config
from deployd.errors import Unavailable
from deployd.host.installation import Program, Site
from deployd.remaining import Remaining

COMMAND = Path("/opt/deployd/bin/deployd")
SERVING = [
    Remaining("the gateway, which takes the requests", "deployd-gateway-x"),
    Remaining("release iris/42", "deployd-x-iris-42"),
    Remaining("churn: its Deployment on the cluster"),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A machine below a directory, of root, on which nothing serves."""
    found = Site(tmp_path, pwd.getpwuid(os.geteuid()).pw_name)
    monkeypatch.setattr("deployd.cli.install.Site", lambda: found)
    monkeypatch.setattr("deployd.cli.install.installed", lambda: None)
    monkeypatch.setattr(Program, "running", lambda: Program(COMMAND, (COMMAND,)))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    serve(monkeypatch, [])
    return found


def serve(monkeypatch: pytest.MonkeyPatch, serving: Sequence[Remaining] | None) -> None:
    """Let these serve; None: the engine does not answer."""

    async def remaining(_: Config) -> Sequence[Remaining]:
        if serving is None:
            raise Unavailable("the engine does not answer")
        return serving

    monkeypatch.setattr("deployd.remaining.remaining", remaining)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_a_dry_run_shows_what_would_be_made_and_makes_nothing(site: Site) -> None:
    said = run("install", "--dry-run")
    assert said.exit_code == 0
    assert "Nothing is changed. What would be done:" in said.output
    assert f"made     {site.link} -> {COMMAND}" in said.output
    assert list(site.root.iterdir()) == []


def test_an_installation_says_what_it_made_and_what_comes_next(site: Site) -> None:
    said = run("install")
    assert said.exit_code == 0
    assert f"made     {site.units}/deployd.service" in said.output
    assert "systemctl enable --now deployd.socket deployd.service" in said.output
    secret = (site.credentials / "webhook_secret").read_text().strip()
    assert secret not in said.output


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_only_root_may(command: str, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said = run(command)
    assert (said.exit_code, "only root can do this" in said.output) == (1, True)
    assert list(site.root.iterdir()) == []


def test_an_uninstallation_says_what_serves_on_and_how_to_end_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    run("install")
    serve(monkeypatch, SERVING)
    said = run("uninstall")
    assert said.exit_code == 0
    assert "release iris/42 (deployd-x-iris-42)" in said.output
    assert "churn: its Deployment on the cluster" in said.output
    assert "docker rm --force deployd-gateway-x deployd-x-iris-42" in said.output
    assert list(site.units.iterdir()) == []


def test_nothing_is_purged_from_under_a_gateway_that_serves(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    run("install")
    serve(monkeypatch, SERVING)
    said = run("uninstall", "--purge")
    assert (said.exit_code, "deployd-gateway-x deployd-x-iris-42" in said.output) == (1, True)
    assert (site.units / "deployd.service").exists()


def test_an_uninstallation_with_a_wrong_config_says_so_and_goes_on(site: Site) -> None:
    run("install")
    (site.config / "config.toml").write_text("[[app]]\nnam = 1\n")
    said = run("uninstall")
    assert (said.exit_code, "unknown key" in said.output) == (0, True)
    assert "Nothing of deployd serves" not in said.output
    assert list(site.units.iterdir()) == []


def test_nothing_is_said_to_serve_or_not_by_an_engine_that_does_not_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("install")
    serve(monkeypatch, None)
    said = run("uninstall")
    assert (said.exit_code, "deployd cannot find out what still serves" in said.output) == (0, True)
    assert "Nothing of deployd serves" not in said.output


@pytest.mark.parametrize("unknown", ["an engine that is away", "a config that is wrong"])
def test_nothing_is_purged_while_it_is_unknown_what_serves(
    unknown: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("install")
    if unknown == "an engine that is away":
        serve(monkeypatch, None)
    else:
        (site.config / "config.toml").write_text("[[app]]\nnam = 1\n")
    said = run("uninstall", "--purge")
    assert (said.exit_code, "the gateway may still serve" in said.output) == (1, True)
    assert (site.units / "deployd.service").exists()
    assert site.config.is_dir()

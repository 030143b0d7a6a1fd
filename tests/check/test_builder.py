from pathlib import Path

import pytest

from deployd.builders.buildkit import BuildkitBuilder
from deployd.builders.engine import EngineBuilder
from deployd.check.builder import tried
from deployd.config.daemon import Config


async def answers(_: EngineBuilder | BuildkitBuilder) -> None:
    """A builder that is there."""


@pytest.fixture(autouse=True)
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EngineBuilder, "ping", answers)


def a_config(directory: Path, kind: str) -> Config:
    return Config.model_validate({"server": {"state_dir": str(directory)}, "builder": {"kind": kind}})


async def test_with_podman_it_is_told_that_builds_cannot_be_stopped(tmp_path: Path) -> None:
    config = a_config(tmp_path, "engine")
    assert [one.verdict for one in await tried(config, podman=False)] == ["ok"]
    told = await tried(config, podman=True)
    assert [one.verdict for one in told] == ["ok", "warning"]
    assert "superseded" in told[1].detail


async def test_podman_has_no_buildkit(tmp_path: Path) -> None:
    (told,) = await tried(a_config(tmp_path, "buildkit"), podman=True)
    assert (told.verdict, told.in_config) == ("wrong", True)
    assert "Podman has no BuildKit" in told.detail


async def test_limits_that_have_no_effect_with_buildkit_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BuildkitBuilder, "ping", answers)
    limited = Config.model_validate({"builder": {"kind": "buildkit", "cpus": 1.5, "memory": "2GiB"}})
    ok, warned = await tried(limited, podman=False)
    assert (ok.verdict, warned.verdict) == ("ok", "warning")
    assert warned.detail == 'builder.cpus and builder.memory: no effect with kind = "buildkit"'
    unlimited = Config.model_validate({"builder": {"kind": "buildkit"}})
    assert [one.verdict for one in await tried(unlimited, podman=False)] == ["ok"]

from pathlib import Path

import pytest

from deployd.errors import Unavailable
from tests.testbed import payloads


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an `npm` first on PATH that the test writes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\n")
    npm.chmod(0o755)
    return npm


def test_a_package_with_another_hash_is_not_used(fake_npm: Path) -> None:
    fake_npm.write_text('#!/bin/sh\nfor last; do :; done\necho other > "$last/package.tgz"\n')
    with pytest.raises(Unavailable, match="not what was pinned"):
        payloads.ensure()
    assert list((fake_npm.parent / "cache").rglob("index.json")) == []


def test_the_error_output_of_npm_is_the_hint(fake_npm: Path) -> None:
    fake_npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    with pytest.raises(Unavailable) as missing:
        payloads.ensure()
    assert missing.value.hint == "no network"

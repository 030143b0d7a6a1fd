"""The wheel of model_service holds all that serves, and the lock all that it needs."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

import model_service
from deployd.errors import RequestRefused, Unavailable
from deployd.starter import wheel

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_has_every_file_that_serves_and_the_version_of_the_package(real_wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "model_service"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    apart = {f"model_service/{name}" for name in ("README.md", "pyproject.toml", "serving.in", "training.in")}
    with zipfile.ZipFile(real_wheel) as content:
        assert set(listed) - apart == {name for name in content.namelist() if ".dist-info/" not in name}
    assert real_wheel.name == f"model_service-{model_service.__version__}-py3-none-any.whl"


@pytest.mark.slow
def test_the_lock_has_what_both_locks_have_once_and_the_wheel_by_its_hash(real_wheel: Path) -> None:
    def pins(text: str) -> list[str]:
        return re.findall(r"^[a-z][^ ]*==[^ ]+", text, re.MULTILINE)

    both = [pins((ROOT / f"model_service/{name}.lock").read_text()) for name in ("serving", "training")]
    text = wheel.lock(real_wheel)
    assert sorted(pins(text)) == sorted({*both[0], *both[1]})
    assert text.startswith(f"./vendor/{real_wheel.name} \\\n    --hash=sha256:{wheel.sha256(real_wheel)}\n")


@pytest.mark.slow
def test_sources_that_make_no_wheel_are_a_failure_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    with pytest.raises(Unavailable, match="the wheel of model_service cannot be made") as refused:
        wheel.build_wheel(tmp_path / "sources", tmp_path)
    assert "\n" not in refused.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sources"]


def test_an_installation_gives_the_wheel_that_came_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheel, "_SOURCES", tmp_path / "none")
    monkeypatch.setattr(wheel, "_HERE", tmp_path)
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(RequestRefused, match="has no wheel of model_service"):
        wheel.put_wheel(into)
    (tmp_path / "model_service-1.2-py3-none-any.whl").write_bytes(b"a wheel")
    assert wheel.put_wheel(into).read_bytes() == b"a wheel"

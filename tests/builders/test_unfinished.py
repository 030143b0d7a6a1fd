"""The notes of builds on a real disk."""

from pathlib import Path

import pytest

from deployd.builders.unfinished import UnfinishedBuilds

RESULT, LAYER, CONTAINER = f"sha256:{'1' * 64}", "2" * 12, "3" * 12


def test_the_last_reported_layers_survive_a_kill_until_the_build_is_settled(tmp_path: Path) -> None:
    build = UnfinishedBuilds(tmp_path / "builds").new()
    build.note(1764237600.0, [LAYER])
    build.note(1764237600.0, [RESULT, LAYER])
    (found,) = UnfinishedBuilds(tmp_path / "builds").all()
    assert (found.began, found.told, found.container) == (1764237600.0, [RESULT, LAYER], None)
    build.note(1764237600.0, [RESULT, LAYER], CONTAINER)
    (found,) = UnfinishedBuilds(tmp_path / "builds").all()
    assert (found.began, found.told, found.container) == (1764237600.0, [RESULT, LAYER], CONTAINER)
    assert found.cached == []
    build.note(1764237600.0, [RESULT, LAYER], CONTAINER, [LAYER])
    (found,) = UnfinishedBuilds(tmp_path / "builds").all()
    assert (found.told, found.container, found.cached) == ([RESULT, LAYER], CONTAINER, [LAYER])
    found.settled()
    build.settled()
    assert UnfinishedBuilds(tmp_path / "builds").all() == []
    assert not list(tmp_path.iterdir())


def test_a_build_that_told_nothing_is_not_noted(tmp_path: Path) -> None:
    builds = UnfinishedBuilds(tmp_path / "builds")
    builds.new().note(1.0, [])
    assert builds.all() == []


def test_lines_without_an_id_are_ignored_and_a_half_written_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "one").write_text(f"1.5\n../../etc\n{LAYER}\nsha256:22\nrunning in ../x\nfrom the cache x")
    (tmp_path / "two.new").write_text("1")
    (found,) = UnfinishedBuilds(tmp_path).all()
    assert (found.began, found.told, found.container, found.cached) == (1.5, [LAYER], None, [])
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_an_error_of_the_disk_is_logged_and_raises_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "builds").touch()
    UnfinishedBuilds(tmp_path / "builds").new().note(1.0, [LAYER])
    assert "Cannot note which layers a build makes" in caplog.text


def test_a_damaged_file_counts_as_empty(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "wrong").write_text(f"yesterday\n{LAYER}")
    (found,) = UnfinishedBuilds(tmp_path).all()
    assert found.began is None
    assert not found.told
    assert "Cannot read which layers a build made" in caplog.text

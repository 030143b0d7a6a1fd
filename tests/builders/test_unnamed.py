"""The list of unnamed images on a real disk."""

from pathlib import Path

import pytest

from deployd.builders.unnamed import UnnamedImages

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


def test_added_ids_are_listed_once_and_in_order(tmp_path: Path) -> None:
    unnamed = UnnamedImages(tmp_path / "state/unnamed")
    assert unnamed.all() == []
    unnamed.forget({ONE})
    unnamed.add([])
    unnamed.add([TWO, ONE])
    unnamed.add([TWO])
    assert UnnamedImages(tmp_path / "state/unnamed").all() == [TWO, ONE]


def test_forgotten_ids_are_removed_and_the_others_stay(tmp_path: Path) -> None:
    unnamed = UnnamedImages(tmp_path / "unnamed")
    unnamed.add([ONE, TWO])
    unnamed.forget({ONE})
    assert unnamed.all() == [TWO]
    assert [path.name for path in tmp_path.iterdir()] == ["unnamed"]


def test_a_line_that_a_crash_cut_short_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "unnamed").write_text(f"{ONE}\nsha256:22\n../../etc\n")
    assert UnnamedImages(tmp_path / "unnamed").all() == [ONE]


def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "unnamed").write_text("sha256:22")
    unnamed = UnnamedImages(tmp_path / "unnamed")
    unnamed.add([ONE])
    assert unnamed.all() == [ONE]


def test_a_full_disk_is_logged_and_raises_nothing(caplog: pytest.LogCaptureFixture) -> None:
    UnnamedImages(Path("/dev/full")).add([ONE])
    assert "No space left on device" in caplog.text


def test_an_id_that_cannot_be_removed_stays_in_the_list(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unnamed = UnnamedImages(tmp_path / "unnamed")
    unnamed.add([ONE, TWO])
    (tmp_path / "unnamed.new").symlink_to("/dev/full")
    unnamed.forget({ONE})
    assert unnamed.all() == [ONE, TWO]
    assert [path.name for path in tmp_path.iterdir()] == ["unnamed"]
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize("broken", ["directory", "not text"])
def test_a_list_that_cannot_be_read_is_empty(tmp_path: Path, broken: str) -> None:
    if broken == "directory":
        (tmp_path / "unnamed").mkdir()
    else:
        (tmp_path / "unnamed").write_bytes(b"\xff\xfe\n")
    assert UnnamedImages(tmp_path / "unnamed").all() == []

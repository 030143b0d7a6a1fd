"""The list of unnamed images on a real disk."""

from pathlib import Path

import pytest

from deployd.builders.leaves import Leaves

ONE, TWO = (f"sha256:{digit * 64}" for digit in "12")


def test_what_was_added_is_there_once_and_in_order(tmp_path: Path) -> None:
    leaves = Leaves(tmp_path / "state/leaves")
    assert leaves.all() == []
    leaves.forget({ONE})
    leaves.add([])
    leaves.add([TWO, ONE])
    leaves.add([TWO])
    assert Leaves(tmp_path / "state/leaves").all() == [TWO, ONE]


def test_what_is_forgotten_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    leaves = Leaves(tmp_path / "leaves")
    leaves.add([ONE, TWO])
    leaves.forget({ONE})
    assert leaves.all() == [TWO]
    assert [path.name for path in tmp_path.iterdir()] == ["leaves"]


def test_a_line_that_a_crash_cut_short_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "leaves").write_text(f"{ONE}\nsha256:22\n../../etc\n")
    assert Leaves(tmp_path / "leaves").all() == [ONE]


def test_a_line_that_was_cut_short_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "leaves").write_text("sha256:22")
    leaves = Leaves(tmp_path / "leaves")
    leaves.add([ONE])
    assert leaves.all() == [ONE]


def test_a_full_disk_costs_the_note_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    Leaves(Path("/dev/full")).add([ONE])
    assert "No space left on device" in caplog.text


def test_what_cannot_be_taken_off_the_list_stays_on_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    leaves = Leaves(tmp_path / "leaves")
    leaves.add([ONE, TWO])
    (tmp_path / "leaves.new").symlink_to("/dev/full")
    leaves.forget({ONE})
    assert leaves.all() == [ONE, TWO]
    assert [path.name for path in tmp_path.iterdir()] == ["leaves"]
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize("broken", ["directory", "not text"])
def test_a_list_that_cannot_be_read_is_an_empty_one(tmp_path: Path, broken: str) -> None:
    if broken == "directory":
        (tmp_path / "leaves").mkdir()
    else:
        (tmp_path / "leaves").write_bytes(b"\xff\xfe\n")
    assert Leaves(tmp_path / "leaves").all() == []

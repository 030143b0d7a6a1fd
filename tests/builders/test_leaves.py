"""The list of unnamed images on a real disk."""

from pathlib import Path

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

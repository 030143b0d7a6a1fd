from pathlib import Path

import pytest

from tests.hosts import matrix
from tests.hosts.columns import COLUMNS
from tests.hosts.features import FEATURES
from tests.hosts.matrix import Cell, Found
from tests.tally import Tally
from tests.tally import Test as Ran

ONE, OTHER = Ran("tests.test_x", "test_a"), Ran("tests.test_x", "test_b")


@pytest.mark.parametrize(
    ("tally", "shown"),
    [
        (Tally(passed={ONE}, skipped={OTHER: "no GPU"}), "holds (1)"),
        (Tally(passed={ONE}, failed={OTHER}), "**fails** (1 of 2)"),
        (Tally(skipped={ONE: "no GPU"}), "not here"),
        (Tally(), "not here"),
    ],
)
def test_one_failed_test_fails_the_feature_and_skipped_ones_prove_nothing(tally: Tally, shown: str) -> None:
    assert str(matrix.cell(tally)) == shown


def test_the_table_tells_what_failed_and_why_something_was_not_tried() -> None:
    cells = {"swap": Cell("fails", 1, ("tests/test_x.py::test_b",)), "build": Cell("not here", reasons=("no client",))}
    text = matrix.table([Found("Docker 30, HAProxy 4", "2030-01-02", cells)], ["swap", "build", "demo"])
    assert text.splitlines() == [
        "| | Docker 30, HAProxy 4 |",
        "|---|---|",
        "| swap | **fails** (1 of 2) |",
        "| build | not here |",
        "| demo | not run |",
        "| tried on | 2030-01-02 |",
        "",
        "- Docker 30, swap: fails: `test_b`",
        "- Docker 30, build: not here: no client",
    ]


def test_what_was_found_is_kept(tmp_path: Path) -> None:
    found = {"28": Found("Docker 28", "2026-11-27", {"swap": Cell("fails", 1, ("test_b",))})}
    matrix.save(found, tmp_path / "found.json")
    assert matrix.load(tmp_path / "found.json") == found


def test_only_the_table_of_the_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "hosts.md"
    page.write_text(f"before\n{matrix.BEGIN}old\n{matrix.END}after\n")
    matrix.write_page("new\n", page)
    assert page.read_text() == f"before\n{matrix.BEGIN}\nnew\n\n{matrix.END}after\n"


def test_the_page_shows_what_was_found_and_nothing_fails_where_it_must_hold() -> None:
    found = matrix.load()
    assert matrix.shown(found) in matrix.PAGE.read_text()
    must_hold = {column.name for column in COLUMNS if column.must_hold}
    failing = [
        f"{found[name].title}: {feature}"
        for name in must_hold & found.keys()
        for feature, cell in found[name].cells.items()
        if cell.verdict == "fails"
    ]
    assert failing == []


def test_the_features_name_tests_that_there_are() -> None:
    root = Path(__file__).parents[2]
    assert all((root / file).exists() for feature in FEATURES for file in feature.files)

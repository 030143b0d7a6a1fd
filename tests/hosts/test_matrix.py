import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from deployd.builders.engine import EngineBuilder
from deployd.check.builder import tried
from deployd.check.podman import limits
from deployd.config.daemon import Config
from tests.hosts import matrix
from tests.hosts.columns import COLUMNS
from tests.hosts.features import BUILDKIT_BUILDS, STOPPED_BUILDS
from tests.hosts.matrix import CLUSTERS, ENGINES, Cell, Found, Table
from tests.tally import Tally
from tests.tally import Test as Ran

ROOT = Path(__file__).parents[2]
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
    assert str(matrix.cell(tally, {})) == shown


def test_what_check_tells_is_no_fail_of_those_tests_alone() -> None:
    told = {str(ONE): "a line", str(OTHER): "another line"}
    assert str(matrix.cell(Tally(failed={ONE}, passed={OTHER}), told)) == "holds (1), 1 told by check"
    assert str(matrix.cell(Tally(failed={ONE, OTHER}), {str(ONE): "a line"})) == "**fails** (1 of 1)"
    assert str(matrix.cell(Tally(passed={ONE, OTHER}), told)) == "holds (2)"


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
    cells = {"swap": Cell("holds", 1, told={"tests/test_x.py::test_b": "Docker 30 does not."})}
    text = matrix.table([Found("Docker 30, HAProxy 4", "2030-01-02", cells)], ["swap"])
    assert text.splitlines()[-1] == "- Docker 30, swap: told by check: `test_b`: Docker 30 does not."


def test_what_was_found_is_kept_in_the_order_of_the_versions(tmp_path: Path) -> None:
    kept = Table("clusters", (), tmp_path / "clusters.json")
    assert kept.load() == {}
    older, newer = Found("Kubernetes 1.9.1", "2026-11-27"), Found("Kubernetes 1.36.2", "2026-11-27")
    newer.cells["swap"] = Cell("fails", 1, ("test_b",))
    kept.save({"1.36": newer, "1.9": older})
    assert list(kept.load().items()) == [("1.9", older), ("1.36", newer)]


def test_only_its_own_table_of_the_page_is_written(tmp_path: Path) -> None:
    page = tmp_path / "hosts.md"
    one, other = (Table(name, (), tmp_path / f"{name}.json") for name in ("engines", "clusters"))
    page.write_text(f"before\n{one.begin}old\n{matrix.END}between\n{other.begin}old\n{matrix.END}after\n")
    one.save({"28": Found("Docker 28", "2026-11-27")})
    one.write(page)
    shown = "| | Docker 28 |\n|---|---|\n| tried on | 2026-11-27 |\n"
    rest = f"between\n{other.begin}old\n{matrix.END}after\n"
    assert page.read_text() == f"before\n{one.begin}\n{shown}\n{matrix.END}{rest}"


@pytest.mark.parametrize("table", [ENGINES, CLUSTERS], ids=lambda table: table.name)
def test_the_page_shows_what_was_found_and_nothing_fails(table: Table) -> None:
    found = table.load()
    assert f"{table.begin}\n{table.shown()}\n{matrix.END}" in matrix.PAGE.read_text()
    failing = [
        f"{one.title}: {feature}"
        for one in found.values()
        for feature, cell in one.cells.items()
        if cell.verdict == "fails"
    ]
    assert failing == []


@pytest.mark.parametrize("table", [ENGINES, CLUSTERS], ids=lambda table: table.name)
def test_the_features_name_tests_that_there_are(table: Table) -> None:
    for chosen in (chosen for feature in table.features for chosen in feature.files):
        file, _, test = chosen.partition("::")
        assert not test or test in functions_of(ROOT / file), chosen
        assert (ROOT / file).exists(), chosen


async def test_what_may_fail_on_podman_is_told_by_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def answers(_: EngineBuilder) -> None:
        """An engine that is there."""

    monkeypatch.setattr(EngineBuilder, "ping", answers)
    (podman,) = (column for column in COLUMNS if column.told)
    assert podman.name == "podman"
    app = {"name": "iris", "repo": "/iris.git", "branch": "main", "gateway": {"listen": 8000}}
    lines = set[str]()
    for kind in ("engine", "buildkit"):
        settings = {"server": {"state_dir": str(tmp_path)}, "builder": {"kind": kind}, "app": [app]}
        config = Config.model_validate(settings)
        found = [*await tried(config, podman=True), *limits(config)]
        lines |= {finding.detail for finding in found if finding.verdict != "ok"}
    assert set(podman.told.values()) <= lines
    assert all(podman.not_here[feature].endswith(tuple(lines)) for feature in (BUILDKIT_BUILDS, STOPPED_BUILDS))
    for name in podman.told:
        file, _, test = name.partition("::")
        assert test.partition("[")[0] in functions_of(ROOT / file)


def test_every_test_of_the_cluster_stands_in_one_row() -> None:
    rows = Counter(chosen for feature in CLUSTERS.features for chosen in feature.files)
    marked = [
        (str(path.relative_to(ROOT)), test)
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.cluster" in (text := path.read_text()) or "CLUSTER" in text
        for test in functions_of(path, marked=True)
    ]
    assert len(marked) > 80
    assert {(file, test): count for file, test in marked if (count := rows[file] + rows[f"{file}::{test}"]) != 1} == {}


@cache
def functions_of(file: Path, *, marked: bool = False) -> list[str]:
    """The names of its tests; `marked`: of those of the cluster, which a mark names, or a parameter of their world."""
    body = ast.parse(file.read_text()).body
    tests = [
        part
        for part in body
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part.name.startswith("test_")
    ]
    everything = not marked or any(_is_of_the_cluster(part) for part in body if part not in tests)
    return [test.name for test in tests if everything or any(map(_is_of_the_cluster, test.decorator_list))]


def _is_of_the_cluster(part: ast.AST) -> bool:
    names = (node for node in ast.walk(part) if isinstance(node, ast.Attribute | ast.Name))
    return any(ast.unparse(name) in {"pytest.mark.cluster", "CLUSTER"} for name in names)

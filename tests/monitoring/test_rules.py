"""The rules and the dashboard: they name only metrics that a scrape has, and promtool finds them right."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.desk import A, Desk, desk, settings
from tests.monitoring.rules import ALERTS, DASHBOARD, alerts, dashboard, metrics_of, panels, queries
from tests.testbed.programs import program

HERE = Path(__file__).parent
OWN = re.compile(r"^# TYPE (deployd_\w+) (\w+)$", re.MULTILINE)
OF_PROMETHEUS = {"up"}


def promtool(*arguments: str, text: str = "") -> None:
    """Run it; it must find nothing to say."""
    command = [str(program("promtool", "prometheus")), *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def scraped(daemon: Desk) -> tuple[set[str], dict[str, set[str]]]:
    """The names that a scrape has, and for those with series the labels of these."""
    async with daemon.browser() as browser:
        text = (await browser.get("/metrics")).text
    names: set[str] = set()
    for name, kind in OWN.findall(text):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    labels: dict[str, set[str]] = {}
    for name, found in re.findall(r"^(deployd_\w+)\{(.*)\} ", text, re.MULTILINE):
        labels.setdefault(name, set()).update(re.findall(r'(\w+)="', found))
    return names, labels


async def test_every_metric_and_label_that_is_named_is_in_a_scrape(tmp_path: Path) -> None:
    async with desk(tmp_path, settings("iris")) as daemon:
        await daemon.deployed(A)
        names, labels = await scraped(daemon)
    said = {name: matched for query in queries() for name, matched in metrics_of(query).items()}
    assert len(said) > 10
    assert set(said) - OF_PROMETHEUS <= names
    for name, matched in said.items():
        if name in labels:
            assert matched <= labels[name] | {"job", "instance"}, name


def test_the_names_in_a_query_are_found_without_functions_labels_and_words() -> None:
    query = 'sum by (app, le) (rate(a_total{app=~"x y", b!="c"}[5m])) / on (app) d unless absent(up{job="z"}) > 1e9'
    assert metrics_of(query) == {"a_total": {"app", "b"}, "d": set(), "up": {"job"}}


def test_every_alert_says_what_it_means_and_how_bad_it_is() -> None:
    for rule in alerts():
        assert rule["alert"].startswith("Deployd"), rule
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, rule
        assert "{{" not in rule["annotations"]["summary"], rule
        assert rule["annotations"]["description"].rstrip().endswith("."), rule


def test_every_alert_is_explained_and_tested() -> None:
    page = (ALERTS.parent.parent / "monitoring.md").read_text()
    tests = (HERE / "alerts_test.yml").read_text()
    for rule in alerts():
        assert f"| `{rule['alert']}` | {rule['labels']['severity']} |" in page
        assert f"alertname: {rule['alert']}" in tests
    assert len(re.findall(r"^\| `Deployd", page, re.MULTILINE)) == len(alerts())


def test_every_metric_is_explained() -> None:
    page = (ALERTS.parent.parent / "monitoring.md").read_text()
    for query in queries():
        for name in metrics_of(query).keys() - OF_PROMETHEUS:
            assert f"`{re.sub('_bucket$', '', name)}`" in page


def test_the_dashboard_can_be_imported_without_being_edited() -> None:
    board = dashboard()
    assert (board["id"], board["uid"], "__inputs" in board) == (None, "deployd", False)
    assert board["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["description"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    assert DASHBOARD.read_text().isascii()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("check", "rules", str(ALERTS)), ("test", "rules", str(HERE / "alerts_test.yml"))], ids=" ".join
)
def test_promtool_finds_the_rules_right_and_each_alert_fires_when_it_should(arguments: tuple[str, ...]) -> None:
    promtool(*arguments)


@pytest.mark.slow
async def test_promtool_finds_the_metrics_right(tmp_path: Path) -> None:
    async with desk(tmp_path, settings("iris")) as daemon, daemon.browser() as browser:
        await daemon.deployed(A)
        text = (await browser.get("/metrics")).text
    own = "".join(line for line in text.splitlines(keepends=True) if "deployd_" in line and "_created" not in line)
    await asyncio.to_thread(promtool, "check", "metrics", text=own)

"""README, docs/ and the pages that they link to: what they say can be typed, followed and written into a config."""

import importlib.util
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from prometheus_client import Counter, Gauge, Histogram
from pydantic import BaseModel
from typer.main import get_command

from bench.__main__ import NAMES as BENCHES
from deployd import metrics
from deployd.api.app import create_api
from deployd.api.services import Services
from deployd.cli import deliveries, deploys, status
from deployd.cli.app import app
from deployd.config.daemon import Config
from deployd.config.file import parse
from tests.typed import PAGES, README, ROOT, arguments, blocks, lines, parts

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_ROUTE = re.compile(r"^(GET|POST|PUT|DELETE) (/[^\s?]*)")

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def _inline(page: Path) -> list[str]:
    """What stands between backticks outside of the fences, on one line or over two."""
    text = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)]


def _typed(page: Path) -> Iterator[str]:
    """Every command that a reader is told to type."""
    return (part for _, line in lines(page) for part in parts(line))


TYPED = sorted({arguments(line) for page in PAGES for line in _typed(page)} - {()})
NAMED = sorted({arguments(text) for page in PAGES for text in _inline(page)} - {(), ("COMMAND", "--help")})


@pytest.mark.parametrize("words", sorted({*TYPED, *(words for words in NAMED if len(words) > 1)}), ids=" ".join)
def test_every_command_that_is_shown_can_be_typed(words: tuple[str, ...]) -> None:
    _parse(get_command(app), list(words))


@pytest.mark.parametrize("name", sorted({words[0] for words in NAMED}))
def test_every_command_that_is_named_is_there(name: str) -> None:
    assert name in get_command(app).commands  # type: ignore[attr-defined]


def _parse(command: Any, words: list[str], context: typer.Context | None = None) -> None:
    context = typer.Context(command, info_name="deployd", parent=context)
    if not hasattr(command, "commands"):
        command.parse_args(context, words)
    else:
        assert words, "the name of a command is missing"
        known = [name for option in command.get_params(context) for name in option.opts]
        if words[0] in known:
            return
        assert words[0] in command.commands, f"deployd has no command {words[0]}"
        _parse(command.commands[words[0]], words[1:], context)


def test_the_pages_show_the_commands_that_one_needs() -> None:
    assert {words[0] for words in TYPED} >= {
        *("backup", "check", "deploy", "history", "hook", "logs", "reload", "rollback", "status", "token"),
    }


def test_the_page_of_the_command_line_shows_every_command_and_the_columns_that_are_printed() -> None:
    page = ROOT / "docs/cli.md"
    typed = {words[:length] for words in map(arguments, _typed(page)) for length in (1, 2)}
    assert [words for words in _commands(get_command(app)) if words not in typed] == []
    heads = [block.split("\n", 1)[0].split() for _, language, block in blocks(page) if language == "text"]
    for columns in (status.COLUMNS, deploys.COLUMNS, deliveries.COLUMNS):
        assert " ".join(columns).split() in heads


def _commands(group: Any) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        inner = _commands(command) if hasattr(command, "commands") else [()]
        yield from ((name, *words) for words in inner)


@every_page
def test_every_target_of_make_is_there(page: Path) -> None:
    makefiles = (ROOT / "Makefile", ROOT / "deployd/starter/templates/every/Makefile")
    targets = {name for file in makefiles for name in re.findall(r"^([\w-]+):", file.read_text(), re.MULTILINE)}
    said = [words.split() for words in [*_typed(page), *_inline(page)]]
    assert {words[1] for words in said if words[:1] == ["make"] and len(words) > 1} <= targets


@pytest.mark.slow
def test_every_route_of_the_api_that_is_named_is_there() -> None:
    routes = create_api(cast("Services", None)).openapi()["paths"]
    there = [(method.upper(), re.sub(r"\{\w+\}", "[^/]+", path)) for path, of in routes.items() for method in of]
    of_the_daemon = [
        page for page in PAGES if "model-service.md" not in str(page) and page.parent.name != "model_service"
    ]
    named = [(page, *found) for page in of_the_daemon for text in _inline(page) for found in _ROUTE.findall(text)]
    assert len({page for page, *_ in named}) > 3
    for page, method, path in named:
        assert any(method == known and re.fullmatch(where, path) for known, where in there), (page, method, path)


@every_page
def test_every_metric_that_is_named_is_there(page: Path) -> None:
    families = [
        family
        for metric in vars(metrics).values()
        if isinstance(metric, (Counter, Gauge, Histogram))
        for family in metric.collect()
    ]
    there = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    assert {text for text in _inline(page) if text.startswith("deployd_")} <= there


@every_page
def test_every_module_that_python_is_to_run_is_there(page: Path) -> None:
    for words in (line.split() for line in [*_typed(page), *_inline(page)]):
        if words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, words
            if words[2] == "bench":
                assert words[3] in {*BENCHES, "NAME"}


@every_page
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not heading or heading in _headings(file), target


def _headings(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set(), {README}
    while new:
        page = new.pop()
        reached.add(page)
        links = re.findall(r"\]\(([^)#]+\.md)[^)]*\)", page.read_text())
        new |= {(page.parent / link).resolve() for link in links} - reached
    assert {*PAGES, ROOT / "CHANGELOG.md"} <= reached


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_every_file_and_directory_that_is_named_is_there(page: str) -> None:
    name = re.compile(r"(?:[\w.-]+/)*(?:[A-Z]\w+\.\w+|[\w-]+\.(?:py|toml|lock|md|service|socket)|[\w-]+/)")
    drawn = [word for _, _, block in blocks(ROOT / page) for word in block.split()]
    for found in filter(name.fullmatch, [*_inline(ROOT / page), *drawn]):
        assert any((ROOT / place / found).exists() for place in ("", "systemd", "deployd")), found


@every_page
def test_every_unit_and_manifest_that_is_used_is_there(page: Path) -> None:
    for line in _typed(page):
        for name in re.findall(r"(?<![\w/])(?:systemd|kubernetes)/[\w.-]*", line):
            assert (ROOT / name).exists(), name


@every_page
def test_every_config_that_is_shown_can_be_used(page: Path) -> None:
    for _, language, block in blocks(page):
        if language == "toml":
            data = tomllib.loads(block)
            assert [path for path in _paths(data) if path not in KEYS] == []
            if isinstance(data.get("app"), list):
                parse(data)


@every_page
def test_every_config_key_that_is_named_is_there(page: Path) -> None:
    for text in _inline(page):
        if (table := re.match(r"\[\[?([a-z_.]+)\]?\](?: ([a-z_]+))?(?!\w)", text)) is not None:
            assert ".".join(filter(None, table.groups())) in KEYS, text
        elif (key := re.match(r"([a-z_]+) = ", text)) is not None:
            assert any(known.rpartition(".")[2] == key[1] for known in KEYS), text


def test_every_option_of_docker_run_is_in_the_table() -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("there is no docker client")
    printed = subprocess.run([docker, "run", "--help"], check=True, capture_output=True, text=True).stdout
    options = set(re.findall(r"^\s+(?:-\w, )?(--[a-z0-9-]+)", printed, re.MULTILINE)) - {
        "--help",
        "--net",
        "--net-alias",
    }
    said = {word for text in _inline(ROOT / "docs/docker-run.md") for word in text.split() if word.startswith("--")}
    assert len(options) > 80
    assert options - said == set()


def _known(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in ((field.alias or name, field) for name, field in model.model_fields.items()):
        yield f"{path}{name}"
        if (inner := _section(field.annotation)) is not None:
            yield from _known(inner, f"{path}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in getattr(annotation, "__args__", ()) if (found := _section(one))), None)


KEYS = frozenset(_known(Config))
_FREE_NAMES = {
    "args",
    "env",
    "env_secrets",
    "labels",
    "sysctls",
    "templates",
    "ulimits",
    "options",
    "headers",
    "node_selector",
    "rules",
    "metrics",
}
_FREE = frozenset(path for path in KEYS if path.rpartition(".")[2] in _FREE_NAMES) | {
    "app.build.secrets",
    "app.kubernetes.resources.requests",
    "app.kubernetes.resources.limits",
}


def _paths(table: Any, path: str = "") -> Iterator[str]:
    """The path of every key in a config; what a table of free names holds is its own affair."""
    for name, value in table.items():
        yield f"{path}{name}"
        if f"{path}{name}" not in _FREE:
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    yield from _paths(inner, f"{path}{name}.")

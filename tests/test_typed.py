"""Every command that a page shows is run by a test, or stands here with the reason why it is not."""

import re
from pathlib import Path

from tests.typed import PAGES, ROOT, arguments, lines, parts, words

NOT_RUN = {
    "make": "tests/test_docs.py looks the target up; the proof itself is one, and the others take a network or hours",
    "jq": "is not deployd's",
    "ssh -L": "takes another host",
    "docker build -t": "takes a package index; tests/model_service/test_image.py builds with what is here",
    "docker build -f Dockerfile.deployd --build-arg BUILDX=": "takes a network; tests/e2e/test_image.py builds without buildx",
    "docker push registry.example.com/": "takes a registry of one's own",
    "mlflow artifacts download": "takes a registry of models; tests/mlflow/ has one",
    "rm -r model": "clears the way for the download",
    "cd churn": "leads to `make try`, which tests/starter/test_made.py runs",
    "/usr/bin/python3 -m venv": "takes a package index; tests/booted/ installs the wheel and its lock by `make install`",
    "/opt/deployd/bin/pip": "takes a package index; tests/booted/ installs the wheel and its lock by `make install`",
    "pipx": "takes a package index",
    "uv tool": "takes a package index",
    "systemctl edit": "opens an editor",
    "python -m tests.testbed": "the fixtures call what it calls",
    "python -m model_service.mlflow": "tests/model_service/test_mlflow.py calls it with models that are there",
    "python -m model_service.trial": "tests/model_service/test_trial.py: it serves until Ctrl-C",
}
"""Beginnings of commands, without the path of python and the variables before them."""

SAME = {("model_service/README.md", "model_service"): ("docs/model-service.md", "What is served")}
"""A heading whose commands, where a test runs them, are those below another one."""


def _begins(command: str) -> str | None:
    said = " ".join(words(command)).removeprefix(".venv/bin/")
    return next((one for one in NOT_RUN if f"{said} ".startswith(one if one.endswith(("=", "/")) else f"{one} ")), None)


def _taken() -> set[tuple[str, str]]:
    """The pages and headings whose commands a test takes."""
    sources = (path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    return {found for source in sources for found in re.findall(r'\bunder\(\s*"([^"]+)",\s*"([^"]+)"', source)}


def _shown() -> list[tuple[str, str, str]]:
    return [
        (str(page.relative_to(ROOT)), heading, part)
        for page in PAGES
        for heading, line in lines(page)
        for part in parts(line)
        if part
    ]


def test_every_command_that_a_page_shows_is_run_or_has_a_reason_why_not() -> None:
    taken = _taken()
    left = [
        (page, heading, command)
        for page, heading, command in _shown()
        if (page, heading) not in taken and not arguments(command) and _begins(command) is None
    ]
    same = {command for page, heading, command in _shown() if (page, heading) in {*SAME.values()} & taken}
    assert [one for one in left if (one[0], one[1]) not in SAME or one[2] not in same] == []


def test_every_reason_is_of_a_command_that_is_shown() -> None:
    assert {_begins(command) for *_, command in _shown()} - {None} == {*NOT_RUN}

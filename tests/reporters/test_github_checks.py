"""Whether the checks of a commit are green: the judgement, and the questions to a fake GitHub that knows its own description."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from deployd.config.running import Running
from deployd.logs.logs import Logs
from deployd.reporters.github_checks import CheckRun, CommitStatus, GitHubChecks, why_not_green
from tests.reporters.fake_github import FakeGitHub, Fault
from tests.reporters.given import TOKEN, running

A = "a" * 40
GREEN = CheckRun("test", "completed", "success")
OK = CommitStatus("ci/lint", "success")


def run(conclusion: str | None, name: str = "test") -> CheckRun:
    return CheckRun(name, "in_progress" if conclusion is None else "completed", conclusion)


@pytest.mark.parametrize(
    ("runs", "statuses", "names", "why"),
    [
        ([], [], [], "no check has reported"),
        ([GREEN], [], [], ""),
        ([], [OK], [], ""),
        ([GREEN, run("neutral", "a"), run("skipped", "b")], [OK], ["test", "ci/lint"], ""),
        ([run(None)], [], [], "test is not finished"),
        ([CheckRun("test", "queued")], [], [], "test is not finished"),
        ([GREEN], [CommitStatus("ci/lint", "pending")], [], "ci/lint is not finished"),
        ([run("failure"), run(None, "slow")], [OK], [], "test failed"),
        ([GREEN], [CommitStatus("ci/lint", "error")], [], "ci/lint failed"),
        ([run("cancelled")], [], [], "test was cancelled"),
        ([run("timed_out")], [], [], "test timed out"),
        ([run("action_required")], [], [], "test waits for somebody"),
        ([run("stale")], [], [], "test is stale"),
        ([run("startup_failure")], [], [], "test could not start"),
        ([CheckRun("test", "completed")], [], [], "test failed"),
        ([run("not_yet_invented")], [], [], "test failed"),
        ([GREEN], [], ["test", "e2e"], "e2e has not reported"),
        ([], [], ["e2e"], "e2e has not reported"),
        ([run("failure", "deployd/iris"), GREEN], [CommitStatus("deployd/iris", "pending")], [], ""),
        ([run(None, "deployd/iris")], [CommitStatus("deployd/iris", "pending")], [], "no check has reported"),
        ([run("failure", str(at)) for at in range(5)], [], [], "0 failed, 1 failed, 2 failed, and 2 more"),
        ([run("failure", "a\x1b[2J")], [], [], "a\\u001b[2J failed"),
    ],
)
def test_the_checks_that_are_not_green_are_named(
    runs: Sequence[CheckRun], statuses: Sequence[CommitStatus], names: Sequence[str], why: str
) -> None:
    assert why_not_green(runs, statuses, names) == why


class Asker:
    """The checks of one app, asked of a GitHub."""

    def __init__(self, hub: FakeGitHub, directory: Path, **sections: Any) -> None:
        self.hub = hub
        self.running: Running = running(hub.url, "off", app={"require": "checks"}, **sections)
        self.checks = GitHubChecks(self.running, Logs(directory / "logs"))

    async def why(self, commit: str = A) -> str:
        return await self.checks.why_not_green(self.running.apps[0], commit)

    def run(self, conclusion: str | None, name: str = "test", commit: str = A) -> None:
        status = "completed" if conclusion else "in_progress"
        number = len(self.hub.runs) + 1
        self.hub.runs[number] = {
            "id": number,
            "head_sha": commit,
            "name": name,
            "status": status,
            "conclusion": conclusion,
        }

    def status(self, state: str, context: str = "ci/lint", commit: str = A) -> None:
        self.hub.statuses.insert(0, {"sha": commit, "context": context, "state": state})


@pytest.fixture
async def asker(hub: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asker]:
    monkeypatch.setenv("TOKEN", TOKEN)
    found = Asker(hub, tmp_path)
    yield found
    await found.checks.close()


async def test_both_systems_are_asked_by_the_commit(asker: Asker) -> None:
    assert await asker.why() == "no check has reported"
    asker.run("success", commit="b" * 40)
    assert await asker.why() == "no check has reported"
    asker.run("success")
    assert await asker.why() == ""
    asker.status("pending")
    assert await asker.why() == "ci/lint is not finished"
    asker.status("success")
    assert await asker.why() == ""
    assert {one.path for one in asker.hub.asked} == {f"/commits/{A}/check-runs", f"/commits/{A}/status"}


async def test_every_page_counts(asker: Asker) -> None:
    for at in range(250):
        asker.run("success", f"shard {at}")
        asker.status("success", f"status {at}")
    assert await asker.why() == ""
    asker.run("failure", "the last one")
    assert await asker.why() == "the last one failed"
    asker.hub.runs.popitem()
    asker.hub.statuses.append({"sha": A, "context": "the last one", "state": "error"})
    assert await asker.why() == "the last one failed"


async def test_checks_that_cannot_be_asked_for_are_not_green(asker: Asker) -> None:
    asker.run("success")
    asker.hub.faults.append(Fault(403, "Resource not accessible by personal access token"))
    assert "Resource not accessible" in await asker.why()
    asker.hub.faults.append(Fault(502))
    assert "GitHub answered 502" in await asker.why()
    asker.hub.faults.append(Fault(403, "rate limit", {"retry-after": "60"}))
    assert "rate limit is reached" in await asker.why()
    assert await asker.why() == ""


async def test_a_reload_reads_the_token_anew(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    asker.run("success")
    asker.hub.tokens = {"another"}
    assert "401" in await asker.why()
    monkeypatch.setenv("TOKEN", "another")
    assert "401" in await asker.why()
    asker.running.replace(asker.running.config.model_copy())
    assert await asker.why() == ""
    monkeypatch.delenv("TOKEN")
    asker.running.replace(asker.running.config.model_copy())
    assert await asker.why() == "github.token: the environment variable TOKEN is not set"

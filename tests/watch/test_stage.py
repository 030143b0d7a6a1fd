"""A watch over scripted signs: when it returns the traffic, and when it only tells."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from deployd.config.app import App
from deployd.config.watch import Watch as Settings
from deployd.domain import Deploy, GateResult, Image
from deployd.errors import Unavailable
from deployd.goal import Trigger
from deployd.ports.gate import Candidate
from deployd.ports.log import Log
from deployd.ports.source import Context
from deployd.status import Status
from deployd.watch.replays import Standby
from deployd.watch.requests import Baseline
from deployd.watch.stage import OneWatch, Watch
from tests.desk import REPO
from tests.fake_target import FakeTarget
from tests.fakes import FakeLog, FakeSource

LONG = Settings.model_validate({"for": "1h"})


def _deploy(number: int, status: Status) -> Deploy:
    image = Image("iris", str(number), f"sha256:{number}")
    return Deploy(
        "iris", number, f"{number:040x}", "refs/heads/main", Trigger("push"), status, datetime.now(UTC), image=image
    )


LIVE, OLD = _deploy(2, Status.LIVE), _deploy(1, Status.RETIRED)


async def not_ended() -> str:
    """The release that stands by runs on."""
    return ""


class Scripted:
    """A sign that says at each measurement what the test has put in."""

    name = "scripted"

    def __init__(self, *said: str) -> None:
        self.every = 0.001
        self._said = list(said)
        self.measured = asyncio.Semaphore(0)

    async def measure(self) -> str:
        self.measured.release()
        said = self._said.pop(0) if self._said else ""
        if said == "away":
            raise Unavailable("the engine is away")
        return said

    def result(self) -> GateResult:
        return GateResult(self.name, "failed", "5 of 9 requests failed", {"n": 9, "k": 5}, moment="after")


def _one(sign: Scripted, trouble: Sequence[str | None] = ("",), settings: Settings = LONG) -> OneWatch:
    answers = list(trouble)

    async def ask() -> str | None:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return OneWatch(settings, LIVE, OLD, [sign], Standby(ask, not_ended))


class Told:
    """What a watch tells."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.first = asyncio.Event()

    async def __call__(self, text: str) -> None:
        self.lines.append(text)
        self.first.set()


async def test_a_bad_sign_ends_the_watch_with_its_reason() -> None:
    told = Told()
    assert await _one(Scripted("", "", "5 of 9 requests failed")).run(told) == "5 of 9 requests failed"
    assert told.lines == []


async def test_a_watch_without_a_bad_sign_ends_after_its_time() -> None:
    settings = LONG.model_copy(update={"length": 0.05})
    sign = Scripted()
    assert await _one(sign, settings=settings).run(Told()) == ""
    await asyncio.wait_for(sign.measured.acquire(), 1)
    await asyncio.wait_for(sign.measured.acquire(), 1)


async def test_a_sign_that_cannot_be_read_is_measured_again() -> None:
    assert await _one(Scripted("away", "away", "bad")).run(Told()) == "bad"


async def test_a_release_stays_while_the_one_before_fails_too_and_that_is_told_once() -> None:
    told, sign = Told(), Scripted(*["its database is away"] * 1000)
    watching = _one(sign, ["answers 500"])
    run = asyncio.create_task(watching.run(told))
    await told.first.wait()
    for _ in range(5):
        await sign.measured.acquire()
    assert not run.done()
    assert told.lines == ["its database is away; no return, since iris/1 fails too: answers 500"]
    (result,) = watching.results(FakeLog())
    assert (result.verdict, result.figures) == ("warned", {"n": 9, "k": 5})
    assert result.detail == "5 of 9 requests failed; iris/1 fails too: answers 500"
    run.cancel()
    await asyncio.wait({run})


async def test_a_person_returns_a_watched_release_at_once() -> None:
    watching = _one(Scripted())
    run = asyncio.create_task(watching.run(Told()))
    assert await watching.can_return()
    watching.order("rolled back by hand by ada")
    watching.order("rolled back by hand by bob")
    assert await run == "rolled back by hand by ada"


async def test_nobody_returns_at_once_to_what_does_not_run() -> None:
    watching = _one(Scripted(), [None])
    run = asyncio.create_task(watching.run(Told()))
    assert not await watching.can_return()
    run.cancel()
    await asyncio.wait({run})


async def test_an_event_outside_lets_every_sign_measure_at_once() -> None:
    sign = Scripted("", "exited with code 1")
    sign.every = 3600.0
    watching = _one(sign)
    run = asyncio.create_task(watching.run(Told()))
    await sign.measured.acquire()
    watching.wake()
    assert await run == "exited with code 1"


class Golden:
    """A golden gate that fails for some deploys; notes the commits of the golden files that it was given."""

    name = "golden"

    def __init__(self, *bad: int) -> None:
        self.bad = bad
        self.commits: dict[int, str] = {}

    async def ask(self, candidate: Candidate, context: Context | None, log: Log) -> GateResult:
        assert context is not None
        self.commits[candidate.deploy.number] = context.commit
        log.write("a line each second would fill the log")
        wrong = candidate.deploy.number in self.bad
        return GateResult("golden", "failed" if wrong else "passed", "case 1 differs" if wrong else "")


def _app(**more: Any) -> App:
    watch = {"for": "1h"}
    settings = {"name": "iris", "repo": REPO, "branch": "main", "gateway": {"listen": 8000}, "watch": watch, **more}
    return App.model_validate(settings)


async def _begun(target: FakeTarget, golden: Golden | None, log: FakeLog) -> OneWatch:
    gates = [golden] if golden is not None else []
    watch = Watch({"docker": target}, FakeSource(), lambda _: gates)
    app = _app(golden={"file": "golden.json"} if golden is not None else None)
    return await watch.begin(app, LIVE, OLD, log, Baseline())


def _running() -> FakeTarget:
    target = FakeTarget()
    target.containers["iris"] = {1, 2}
    return target


@pytest.mark.slow
async def test_each_release_is_asked_the_golden_file_of_its_own_commit_without_a_line_in_the_log() -> None:
    golden, log = Golden(2), FakeLog()
    reason = await (await _begun(_running(), golden, log)).run(Told())
    assert reason == "its golden answers were wrong 2 times in a row: case 1 differs"
    assert golden.commits == {1: OLD.commit, 2: LIVE.commit}
    assert log.text == ""


async def test_a_container_that_ends_returns_the_traffic() -> None:
    target = _running()
    watching = await _begun(target, Golden(), FakeLog())
    run = asyncio.create_task(watching.run(Told()))
    assert await watching.can_return()
    target.restart("iris", 2)
    watching.wake()
    assert await run == "its container ended and was started again"


async def test_nothing_returns_to_a_release_whose_container_is_gone() -> None:
    target, told = _running(), Told()
    target.containers["iris"] = set()
    run = asyncio.create_task((await _begun(target, Golden(), FakeLog())).run(told))
    await told.first.wait()
    assert told.lines == ["its container was removed; no return, since iris/1 fails too: its container was removed"]
    run.cancel()
    await asyncio.wait({run})


async def test_nothing_returns_when_both_ended_as_where_the_engine_is_started_anew() -> None:
    target, told = _running(), Told()
    watching = await _begun(target, Golden(), FakeLog())
    run = asyncio.create_task(watching.run(told))
    assert await watching.can_return()
    target.restart("iris", 1)
    target.restart("iris", 2)
    watching.wake()
    await told.first.wait()
    again = "its container ended and was started again"
    assert told.lines == [f"{again}; no return, since iris/1 fails too: {again}"]
    assert not run.done()
    run.cancel()
    await asyncio.wait({run})

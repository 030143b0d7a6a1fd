"""A head that must wait for its checks: it is decided upon when they are green, or when it has waited for long enough."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from deployd.config.app import App
from deployd.delivery import Delivery, Followed, Push
from deployd.goal import Head
from deployd.order.checks import WaitingHead, WaitingHeads
from deployd.status import Status
from tests.deliveries import AFTER, an_app
from tests.desk import MAIN
from tests.fakes import FakeChecks
from tests.order.conftest import numbers
from tests.works import Works, works

HEAD = Head(MAIN, AFTER)
REQUIRED: dict[str, Any] = {"require": "checks", "webhook": "github.com/acme/iris"}


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Works]:
    """A daemon with one app that requires green checks."""
    async with works(tmp_path, REQUIRED) as made:
        yield made


async def waits(daemon: Works, commit: str, guid: str = "g") -> None:
    """The forge tells of a push; it waits for its checks from now on."""
    await daemon.scheduler.accept(Delivery("github", guid, "push"), [Followed(Push("x", MAIN, commit), ("iris",))])
    await daemon.polled()
    assert daemon.scheduler.looks.waiting("iris") is not None


async def test_a_head_is_deployed_once_its_checks_are_green_by_the_delivery_that_told_of_it(strict: Works) -> None:
    commit = strict.commit()
    strict.checks.red[commit] = "test is not finished"
    await waits(strict, commit)
    waiting = strict.scheduler.looks.waiting("iris")
    assert waiting is not None
    assert (waiting.commit, waiting.reason) == (commit, "test is not finished")
    received = await strict.store.delivery("g")
    assert received is not None
    assert received.outcomes[0].looked_at is None
    assert not await strict.polled()
    strict.checks.red.clear()
    assert await strict.polled()
    deploy = await strict.becomes("iris/1", Status.LIVE)
    assert (deploy.commit, deploy.trigger.delivery) == (commit, "g")
    assert strict.scheduler.looks.waiting("iris") is None
    assert (await strict.answered("g")).number == 1


async def test_a_head_whose_checks_are_green_is_deployed_at_once(strict: Works) -> None:
    commit = strict.commit()
    await strict.becomes(await strict.deployed(commit), Status.LIVE)
    assert await strict.checks.asked.get() == commit


async def test_a_newer_head_ends_the_wait_of_an_older_one(strict: Works) -> None:
    older = strict.commit()
    strict.checks.red[older] = "lint failed"
    await waits(strict, older, "older")
    newer = strict.commit()
    await strict.becomes(await strict.deployed(newer), Status.LIVE)
    strict.checks.red.clear()
    assert not await strict.polled()
    assert (await strict.answered("older")).commit == newer
    assert older not in strict.builder.built


async def test_a_head_that_has_waited_for_too_long_is_skipped_with_what_was_not_green(tmp_path: Path) -> None:
    async with works(tmp_path, {**REQUIRED, "checks": {"within": "0s"}}) as made:
        commit = made.commit()
        made.checks.red[commit] = "lint failed"
        outcome = await made.told(commit)
        assert (outcome.number, outcome.reason) == (None, "its checks were not green in time: lint failed")
        assert await numbers(made) == []
        made.checks.red.clear()
        assert not await made.polled()
        await made.becomes(await made.scheduler.deploy("iris", None, "ada"), Status.LIVE)


async def test_a_head_that_is_skipped_anyway_waits_for_nothing(strict: Works) -> None:
    strict.checks.red["x"] = "never asked"
    outcome = await strict.told(strict.commit(subject="Fix a typo [skip ci]"))
    assert outcome.reason == "the commit's message says [skip ci]"
    assert strict.checks.asked.empty()


async def test_a_person_does_not_wait_for_checks(strict: Works) -> None:
    commit = strict.commit()
    strict.checks.red[commit] = "lint failed"
    await strict.becomes(await strict.scheduler.deploy("iris", commit, "ada"), Status.LIVE)
    assert strict.checks.asked.empty()


async def test_an_app_that_requires_nothing_asks_nothing(daemon: Works) -> None:
    await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    assert daemon.checks.asked.empty()


async def test_a_deleted_branch_ends_the_wait(strict: Works) -> None:
    commit = strict.commit()
    strict.checks.red[commit] = "lint failed"
    await waits(strict, commit)
    strict.commit(branch="other")
    strict.delete()
    async with asyncio.timeout(30):
        while strict.scheduler.looks.waiting("iris") is not None:  # the look for the delivery may still see the branch
            await strict.polled()


def required() -> App:
    return an_app(**REQUIRED)


async def test_the_time_counts_from_when_the_head_was_first_seen() -> None:
    app, checks = required(), FakeChecks()
    checks.red[AFTER] = "test is not finished"
    one = WaitingHeads(checks)
    one.keep(app, HEAD, "test is not finished")
    first = one.of("iris")
    checks.red[AFTER] = "test failed"
    second = await one.ask(app, HEAD)
    assert first is not None
    assert second == WaitingHead(AFTER, first.since, "test failed")
    assert one.of("iris") == first  # to ask changes nothing
    one.keep(app, HEAD, "test failed")
    assert one.of("iris") == second
    one.keep(app, Head(MAIN, "1" * 40), "test failed")
    newer = one.of("iris")
    assert newer is not None
    assert newer.since > first.since
    one.over("iris")
    assert one.of("iris") is None


async def test_a_plan_tells_that_as_a_head_a_commit_would_wait_for_its_checks(strict: Works) -> None:
    strict.commit()
    commit = strict.commit(branch="other")
    strict.checks.red[commit] = "test runs"
    plan = await strict.scheduler.plan("iris", commit)
    assert plan.steps[0] == "if it were the head, it would wait for its checks: test runs"
    waiting = strict.scheduler.looks.waiting("iris")
    assert waiting is None or waiting.commit != commit
    strict.checks.red.clear()
    assert (await strict.scheduler.plan("iris", commit)).steps[0] == "if it were the head, it would be deployed"


async def test_a_plan_tells_why_a_head_was_skipped_and_that_one_is_wanted_already(strict: Works) -> None:
    commit = strict.commit()
    await strict.becomes(await strict.deployed(commit), Status.LIVE)
    plan = await strict.scheduler.plan("iris", None)
    assert plan.steps[0] == "it is the head, and would change nothing: it was wanted last"
    await strict.told(strict.commit(subject="Fix a typo [skip ci]"))
    plan = await strict.scheduler.plan("iris", None)
    assert plan.steps[0] == "it is the head, and would be skipped: the commit's message says [skip ci]"


@pytest.mark.parametrize(("age", "pause"), [(0, 5), (40, 5), (100, 10), (10_000, 60)])
async def test_a_head_that_has_waited_for_long_is_asked_about_more_seldom(age: float, pause: float) -> None:
    one = WaitingHeads(FakeChecks())
    assert one.pause is None
    one._of["iris"] = WaitingHead(AFTER, datetime.now(UTC) - timedelta(seconds=age), "")
    assert one.pause == pytest.approx(pause, abs=0.1)
    one._of["rose"] = WaitingHead(AFTER, datetime.now(UTC), "")
    assert one.pause == pytest.approx(5, abs=0.1)

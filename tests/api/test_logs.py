"""The logs of deploys, whole, in windows and followed, and the output of releases."""

import asyncio
from datetime import UTC, datetime

import httpx
import pytest

from deployd.api.logs import _end_of
from deployd.domain import Step, StepStatus
from deployd.errors import Unavailable
from tests.api.reading import Reader, deployed, open_streams
from tests.desk import MAIN, REPO, A, Desk

LOG = "/api/v1/apps/iris/deploys/1/log"


async def test_the_log_of_a_past_deploy_is_plain_text_that_a_browser_does_not_execute(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    await daemon.deployed(A)
    answer = await client.get(LOG)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "building deployd/test/iris\n" in answer.text
    assert (await client.get(f"{LOG}?from=4")).text.startswith(answer.text[4:])
    assert (await client.get(f"{LOG}?from={2**62}")).text == ""


async def test_the_log_of_a_queued_deploy_is_followed_from_its_start_to_its_end(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.held[A] = asyncio.Event()
    await daemon.scheduler.pause("iris", paused=True)
    await client.post("/api/v1/apps/iris/deploys")

    async def watch() -> list[str]:
        async with client.stream("GET", f"{LOG}?follow=1") as response:
            reader = Reader(response)
            seen = await reader.until("building")
            daemon.builder.held[A].set()
            return seen + await reader.rest()

    watching = asyncio.create_task(watch())
    await daemon.scheduler.pause("iris", paused=False)
    seen = await asyncio.wait_for(watching, 20)
    assert seen[0] == "==> fetch"
    assert "iris/1 is live" in seen


async def test_following_ends_when_the_deploy_ends_without_a_log(daemon: Desk, client: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    await daemon.scheduler.pause("iris", paused=True)
    await client.post("/api/v1/apps/iris/deploys")
    following = asyncio.create_task(client.get(f"{LOG}?follow=1"))
    await open_streams(daemon, 1)
    await daemon.scheduler.cancel("iris", 1)
    answer = await asyncio.wait_for(following, 20)
    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.slow
async def test_following_goes_on_while_a_deploy_waits_for_something_unavailable(
    daemon: Desk, client: httpx.AsyncClient
) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.away = [Unavailable("the engine is away")]
    await client.post("/api/v1/apps/iris/deploys")
    text = (await asyncio.wait_for(client.get(f"{LOG}?follow=1"), 20)).text
    assert text.index("iris/1 failed: the engine is away") < text.index("iris/1 is live")


async def test_the_output_of_a_release_is_shown_and_followed(daemon: Desk, client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/apps/iris/log")).status_code == 409
    await daemon.deployed(A)
    assert (await client.get("/api/v1/apps/iris/log?tail=1")).text == "two\n"
    async with client.stream("GET", "/api/v1/apps/iris/log?follow=1") as response:
        reader = Reader(response)
        await reader.until("two")
        daemon.target.more.set()
        assert await reader.rest() == ["three"]


def written(daemon: Desk, text: str) -> None:
    """Add to the log of the first deploy."""
    with daemon.logs.open("iris", 1) as log:
        log.write(text)


async def test_a_window_of_a_log_is_cut_by_bytes_or_lines(daemon: Desk, client: httpx.AsyncClient) -> None:
    await deployed(daemon, A)
    whole = (await client.get(LOG)).text
    lines = whole.splitlines(keepends=True)
    assert (await client.get(f"{LOG}?from=4&to=9")).text == whole[4:9]
    assert (await client.get(f"{LOG}?from=4&limit=3")).text == whole[4:7]
    assert (await client.get(f"{LOG}?from=4&limit=3&follow=1")).text == whole[4:7]
    assert (await client.get(f"{LOG}?to=4&from=9")).text == ""
    for asked, first, last in (("2-3", 1, 3), ("2", 1, 2), ("3-", 2, None), ("1-999", 0, None), ("998-999", 997, 999)):
        assert (await client.get(f"{LOG}?lines={asked}")).text == "".join(lines[first:last])


async def test_a_window_that_makes_no_sense_is_refused(daemon: Desk, client: httpx.AsyncClient) -> None:
    await deployed(daemon, A)
    for asked in ("lines=1-2&from=3", "lines=1-2&follow=1", "lines=1&limit=5"):
        assert (await client.get(f"{LOG}?{asked}")).status_code == 400
    for asked in ("lines=0-2", "lines=a", "lines=-5", "from=-1", "to=x"):
        assert (await client.get(f"{LOG}?{asked}")).status_code == 422
    assert "expected lines, such as 10-20" in (await client.get(f"{LOG}?lines=x")).json()["detail"]


async def test_a_log_is_plain_unless_its_colours_are_asked_for(daemon: Desk, client: httpx.AsyncClient) -> None:
    await deployed(daemon, A)
    start = len((await client.get(LOG)).content)
    written(daemon, "\x1b[31mred\x1b[0m\n")
    assert (await client.get(f"{LOG}?from={start}")).text == "red\n"
    assert (await client.get(f"{LOG}?from={start}&colours=1")).text == "\x1b[0;31mred\x1b[0m\n"


async def test_the_index_says_where_lines_times_and_steps_are(daemon: Desk, client: httpx.AsyncClient) -> None:
    await deployed(daemon, A)
    written(daemon, "==> build\nnot a step: anything can print that\nno end")
    whole = (await client.get(LOG)).text
    index = (await client.get(f"{LOG}/index")).json()
    assert (index["size"], index["lines"]) == (len(whole), len(whole.splitlines()))
    assert sum(index["ends"]) == whole.count("\n")
    assert index["times"][0][0] == 0
    assert index["ended"] is True
    shown = whole.splitlines()
    assert [step["name"] for step in index["steps"]][:2] == ["fetch", "build"]
    for step in index["steps"]:
        assert shown[step["first_line"] - 1] == f"==> {step['name']}"
        assert shown[step["last_line"] - 1].startswith(f"<== {step['name']} took")


async def test_the_step_that_runs_reaches_to_the_end_of_the_log(daemon: Desk, client: httpx.AsyncClient) -> None:
    daemon.source.remotes[REPO][MAIN] = A
    daemon.builder.held[A] = asyncio.Event()
    await client.post("/api/v1/apps/iris/deploys")
    async with client.stream("GET", f"{LOG}?follow=1") as response:
        await Reader(response).until("building")
    index = (await client.get(f"{LOG}/index")).json()
    assert index["ended"] is False
    assert [(step["name"], step["status"]) for step in index["steps"]] == [("fetch", "done"), ("build", "running")]
    assert index["steps"][-1]["last_line"] == index["lines"]
    daemon.builder.held[A].set()


def test_a_step_that_a_crash_interrupted_ends_where_the_next_one_begins() -> None:
    def step(status: StepStatus, start: int | None, end: int | None) -> Step:
        return Step("build", status, datetime.now(UTC), log_start=start, log_end=end)

    steps = [
        step("cancelled", 0, None),
        step("done", None, None),
        step("done", 50, 80),
        step("cancelled", 80, None),
        step("running", 90, None),
    ]
    assert [_end_of(steps, place, 200) for place in (0, 2, 3, 4)] == [50, 80, 90, 200]
    assert _end_of(steps[:1], 0, 200) == 200


@pytest.mark.slow
async def test_a_log_from_before_times_were_kept_has_an_index(daemon: Desk, client: httpx.AsyncClient) -> None:
    await deployed(daemon, A)
    (daemon.directory / "logs/iris/1.times").unlink()
    assert (await client.get(f"{LOG}/index")).json()["times"] == []
    assert (await client.get("/api/v1/apps/iris/deploys/9/log/index")).status_code == 404

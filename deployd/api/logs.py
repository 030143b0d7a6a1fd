"""The logs of deploys, whole, in windows or followed, and what a reader needs to find its way in one; the output of releases."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, AwareDatetime, WithJsonSchema
from starlette.responses import Response

from deployd.api.answers import Answer, StepAnswer
from deployd.api.auth import READS
from deployd.api.paths import Number
from deployd.api.services import Given, Services
from deployd.api.streams import TEXT, Stream, Write, copy
from deployd.domain import Deploy, Step
from deployd.errors import RequestRefused
from deployd.http.problems import PROBLEMS
from deployd.logs.lines import BLOCK, Lines
from deployd.logs.sgr import without_colours
from deployd.tasks import beside

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)

_LINES = r"[1-9][0-9]{0,14}(-([1-9][0-9]{0,14})?)?"


def _line_range(text: str) -> str:
    if re.fullmatch(_LINES, text) is None:
        raise ValueError("expected lines, such as 10-20, 10- or 10")
    return text


LineRange = Annotated[str, AfterValidator(_line_range), WithJsonSchema({"type": "string", "pattern": f"^{_LINES}$"})]
Byte = Annotated[int, Query(ge=0, le=2**62)]


class StepLinesAnswer(StepAnswer):
    """A step with the lines of the log that are its own, from the first to the last; null of a step whose place is not known."""

    first_line: int | None = None
    last_line: int | None = None


class LogIndexAnswer(Answer):
    """Where things are in a log. `ends`: how many lines end in each block of `block` bytes; the last line may not have ended yet.
    `times`: `[byte, seconds since the epoch]`, when the lines from that byte on were written."""

    size: int
    lines: int
    block: int = BLOCK
    ends: list[int]
    times: list[tuple[int, float]]
    steps: list[StepLinesAnswer]
    ended: bool


@router.get("/apps/{app}/deploys/{number}/log", response_class=Response, dependencies=[READS])
async def deploy_log(
    app: str,
    number: Number,
    services: Given,
    follow: bool = False,
    start: Annotated[int, Query(alias="from", ge=0, le=2**62)] = 0,
    to: Byte | None = None,
    limit: Byte | None = None,
    lines: LineRange | None = None,
    colours: bool = False,
) -> Response:
    """The log of a deploy; with `follow`, until the deploy ends.

    `from` and `to` (the first byte that is left out) or `limit` cut a window out of it, and so does `lines`, such as `10-20`.
    With `colours` it has the colours that were printed, as ANSI sequences. Windows count them, with and without.
    """
    await must_exist(services, app, number)
    if lines is not None:
        if follow or start or to is not None or limit is not None:
            what = "lines cannot be combined with follow, from, to or limit"
            raise RequestRefused(400, what, hint="leave out either lines or the others")
        start, to = await _bytes_of(services, app, number, lines)
    ends = [end for end in (to, None if limit is None else start + limit) if end is not None]
    end = min(ends, default=None)

    async def produce(write: Write) -> None:
        if not follow:
            await _copy(services.logs.read(app, number, start, end), write, colours=colours)
            return
        async with beside(release_followers(services, app, number)):
            blocks = followed(services, app, number, start)
            await _copy(blocks if end is None else _first(blocks, end - start), write, colours=colours)

    return Stream(services, produce, TEXT)


@router.get("/apps/{app}/deploys/{number}/log/index", dependencies=[READS])
async def log_index(
    app: str,
    number: Number,
    services: Given,
    start: Annotated[int, Query(alias="from", ge=0, le=2**62)] = 0,
) -> LogIndexAnswer:
    """Where lines, times and steps are in a log, for whoever shows it in windows; of the times only those from byte `from` on."""
    return await index_of(services, await must_exist(services, app, number), start)


@router.get("/apps/{app}/log", response_class=Response, dependencies=[READS])
async def app_log(
    app: str,
    services: Given,
    follow: bool = False,
    tail: Annotated[int | None, Query(ge=0, le=1_000_000)] = None,
    since: AwareDatetime | None = None,
) -> Response:
    """The output of the live release: the last `tail` lines of those `since` then; with `follow`, also what it prints from now
    on."""
    configured, target = services.scheduler.target_of(app)
    return Stream(
        services, lambda write: copy(target.output(configured, follow=follow, tail=tail, since=since), write), TEXT
    )


async def index_of(services: Services, deploy: Deploy, start: int) -> LogIndexAnswer:
    """The index of a deploy's log as it is now, with the times from byte `start` on."""
    lines = await services.logs.lines(deploy.app, deploy.number)
    times = services.logs.times(deploy.app, deploy.number, start, lines.size)
    steps = []
    for place, step in enumerate(deploy.steps):
        found = StepLinesAnswer.model_validate(step)
        if step.log_start is not None:
            end = _end_of(deploy.steps, place, lines.size)
            last = lines.line_at(end) - (0 if end == lines.size and not lines.complete else 1)
            found = found.model_copy(update={"first_line": lines.line_at(step.log_start), "last_line": last})
        steps.append(found)
    return LogIndexAnswer(
        size=lines.size,
        lines=lines.count,
        ends=list(lines.ends),
        times=[(offset, round(at, 3)) for offset, at in times],
        steps=steps,
        ended=deploy.status.ended,
    )


def _end_of(steps: Sequence[Step], place: int, size: int) -> int:
    """The byte at which a step ends so far. One that was interrupted ends where the next one begins."""
    step = steps[place]
    if step.log_end is not None or step.status == "running":
        return size if step.log_end is None else step.log_end
    return next((later.log_start for later in steps[place + 1 :] if later.log_start is not None), size)


async def must_exist(services: Services, app: str, number: int) -> Deploy:
    """The deploy of that number; RequestRefused 404 when there is none."""
    if (deploy := await services.store.deploy(app, number)) is None:
        raise RequestRefused(404, f"there is no deploy {app}/{number}", hint=f"deployd history {app} shows them")
    return deploy


async def followed(services: Services, app: str, number: int, start: int) -> AsyncGenerator[bytes]:
    """The log until the deploy ends. A deploy that waits for something unavailable closes its log and opens it again."""
    position = start
    deploy = await services.store.deploy(app, number)
    while True:
        expected = deploy is not None and not deploy.status.ended
        async for block in services.logs.follow(app, number, position, expected=expected):
            position += len(block)
            yield block
        deploy = await services.store.deploy(app, number)
        if not expected or deploy is None or deploy.status.ended:
            return


async def release_followers(services: Services, app: str, number: int) -> None:
    """End the streams that follow a deploy's log when the deploy ends without having written one."""
    after = services.events.latest
    deploy = await services.store.deploy(app, number)
    watched = services.events.watch(after)
    while deploy is not None and not deploy.status.ended:
        event = await anext(watched)
        if event.kind == "reset" or (event.kind == "deploy.status" and (event.app, event.number) == (app, number)):
            deploy = await services.store.deploy(app, number)
    services.logs.give_up(app, number)


async def _copy(blocks: AsyncGenerator[bytes], write: Write, *, colours: bool) -> None:
    async with aclosing(blocks if colours else without_colours(blocks)) as shown:
        await copy(shown, write)


async def _first(blocks: AsyncIterator[bytes], wanted: int) -> AsyncGenerator[bytes]:
    """The first bytes of the blocks; nothing is waited for after them."""
    async for block in blocks:
        if wanted > 0:
            yield block[:wanted]
        wanted -= len(block)
        if wanted <= 0:
            return


async def _bytes_of(services: Services, app: str, number: int, asked: str) -> tuple[int, int | None]:
    first, dash, last = asked.partition("-")
    lines: Lines = await services.logs.lines(app, number)
    end = int(last) if last else int(first) if not dash else lines.count
    return lines.start_of(int(first)), lines.start_of(end + 1)

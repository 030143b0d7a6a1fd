"""Push to live, beside a plain `git fetch && docker build && docker run` until it answers; all layers are cached."""

import asyncio
from functools import partial

from bench.environment import on_an_engine
from bench.recipe import Recipe
from bench.report import Report, interleaved
from deployd.status import Status
from tests.e2e.world import APP, CONFIG, World

# Without a build argument and a commit path, so that both find every layer of every commit in the cache.
_DOCKERFILE = 'FROM python:3.11-slim-bookworm\nCOPY app.py /app.py\nENV COMMIT=any\nCMD ["python3", "-u", "/app.py"]\n'
_CONFIG = CONFIG.replace('commit_path = "/"\n', "").replace('every = "50ms"', 'every = "10ms"')


def run(quick: bool, report: Report) -> None:
    """Measure one push in each round, by deployd and by the script in turn."""
    on_an_engine(partial(_measure, report, rounds=3 if quick else 15), _CONFIG)
    report.ratio("push -> live: deployd / script", "deployd", "script")
    report.bar("seconds beyond the script", "<=", 0.5, "beyond the script", "s")


async def _measure(report: Report, here: World, *, rounds: int) -> None:
    await _deploy(here)  # fills the cache
    recipe = Recipe(here.daemon.directory, here.repository.remote)
    with recipe.removed_at_the_end():
        await asyncio.to_thread(recipe.start_beside)
        for _, name in interleaved(rounds, ["deployd", "script"]):
            if name == "deployd":
                report.sample("deployd", await _deploy(here, report), "s")
            else:
                report.sample("script", await asyncio.to_thread(recipe.start_beside), "s")
        pairs = zip(report.samples["deployd"], report.samples["script"], strict=True)
        for ours, theirs in list(pairs):
            report.sample("beyond the script", ours - theirs, "s")


async def _deploy(here: World, report: Report | None = None) -> float:
    """Push an empty commit and wait until it is live: seconds from the delivery, by the clock of this machine."""
    here.repository.write("app.py", APP)
    here.repository.write("Dockerfile", _DOCKERFILE)
    deploy = await here.ended(await here.deliver("Change nothing"))
    if deploy.status is not Status.LIVE or deploy.live_at is None:
        raise RuntimeError(f"the deploy is {deploy.status}: {deploy.reason}")
    for step in deploy.steps if report is not None else ():
        if report is not None and step.finished_at is not None and step.finished_at <= deploy.live_at:
            report.sample(f"step {step.name}", (step.finished_at - step.started_at).total_seconds(), "s")
    return (deploy.live_at - here.delivered_at).total_seconds()

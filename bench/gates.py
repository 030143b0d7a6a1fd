"""What gates cost beyond their own requests, how often they refuse a release as good as the one before, and seven bad models."""

import asyncio
import time
from functools import partial

import httpx

from bench import bad_models
from bench.environment import on_an_engine
from bench.report import Report
from bench.trained import GOLDEN_ROWS, ROWS, Models, models_of, push
from deployd.api.answers import DeployAnswer
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import CONFIG, WHO, World

_GOLDEN = """\
[app.golden]
file = "golden.json"
"""
_EVALUATE = """\
[app.evaluate]
data = "rows.csv"
target = "label"
[app.evaluate.metrics.accuracy]
not_worse_than_live = 0.01
"""
_COMPARE = """\
[app.compare]
requests = "file:requests.jsonl"
"""
_WATCH = """\
[app.watch]
for = "2s"
"""
_CANARY = 'listen = {public_port}\nweights = [20, 50, 100]\nstep = "2s"\n'

_GATES = ("golden", "evaluate", "compare")
_CONCURRENCY = 4


def run(quick: bool, report: Report) -> None:
    """Deploy what changes nothing, then the same with canary and watch under load, then models of other seeds."""
    models = models_of(3 if quick else 50)
    on_an_engine(partial(_cost, report, models, rounds=3 if quick else 10), CONFIG + _GOLDEN + _EVALUATE + _COMPARE)
    watched = CONFIG.replace("listen = {public_port}\n", _CANARY) + _GOLDEN + _COMPARE + _WATCH
    on_an_engine(partial(_in_a_row, report, models), watched)
    for gate, config in (("evaluate", _EVALUATE), ("compare", _COMPARE)):
        on_an_engine(partial(_seeds, report, models, gate), CONFIG + config)
    on_an_engine(partial(bad_models.measure, report, models), bad_models.CONFIG)
    report.bar("gates beyond their own requests", "<=", 0.3, "beyond their own requests", "s")
    report.bar("good releases refused, under load, with canary and watch", "<=", 0, "good releases refused")
    report.bar("requests lost meanwhile", "<=", 0, "requests lost")
    for name in bad_models.BAD:
        report.bar(f"{name}: neither refused nor returned", "<=", 0, f"{name}: serves on")
        report.bar(f"{name}: clients that saw it when it was refused", "<=", 0, f"{name}: clients of the refused one")


async def _cost(report: Report, models: Models, here: World, *, rounds: int) -> None:
    """What the steps of the gates take, less what their requests take when they are sent by a plain client."""
    for number in range(rounds + 1):
        deploy = await push(here, models, models.answers[0])
        _require_live(deploy)
        if number:  # the first had nothing to be compared with
            steps = {gate: _seconds(deploy, gate) for gate in _GATES}
            spent, plain = sum(steps.values()), await _asked_plainly(here)
            for gate, seconds in steps.items():
                report.sample(f"step {gate}", seconds, "s")
            report.sample("their requests, sent by a plain client", plain, "s")
            report.sample("beyond their own requests", spent - plain, "s")


async def _asked_plainly(here: World) -> float:
    """The seconds that as many requests take as the gates sent to the release that is live now, and to the one before it:
    `compare` asks that one twice."""
    rows = iter(range(int(await _get(here, "/asked")) + 2 * GOLDEN_ROWS))
    async with httpx.AsyncClient(base_url=here.daemon.public_url) as client:

        async def ask() -> None:
            for row in rows:
                await client.post("/predict", json={"instances": [{"row": row % ROWS}]})

        began = time.monotonic()
        await asyncio.gather(*(ask() for _ in range(_CONCURRENCY)))
        return time.monotonic() - began


async def _in_a_row(report: Report, models: Models, here: World) -> None:
    """As many good releases as there are models, each watched to its end, while clients ask without a pause."""
    _require_live(await push(here, models, models.answers[0]))
    load, refused = Load(here.daemon.public_url, rest=0.01), 0
    async with load.running(WHO, kept=4, fresh=1):
        for _ in models.answers:
            deploy = await push(here, models, models.answers[0])
            refused += deploy.status is not Status.LIVE
            report.sample("from push to the end of the watch", await _watched(here, deploy), "s")
    report.sample("good releases", len(models.answers), "")
    report.sample("good releases refused", refused, "")
    report.sample("requests", load.sent, "")
    report.sample("requests lost", len(load.failures), "")


async def _seeds(report: Report, models: Models, gate: str, here: World) -> None:
    """How many models of equal quality a gate refuses, each beside the last that was live."""
    ends = [await push(here, models, answers) for answers in models.answers]
    refused = sum(deploy.status is not Status.LIVE for deploy in ends)
    warned = sum(each.verdict == "warned" for deploy in ends for each in deploy.gates if each.name == gate)
    report.sample(f"models of other seeds refused by {gate}", 100 * refused / len(ends), "%")
    report.sample(f"models of other seeds that {gate} warns of", 100 * warned / len(ends), "%")


async def _watched(here: World, deploy: DeployAnswer) -> float:
    """Wait for the end of the watch; the seconds from the request until then."""
    async with asyncio.timeout(60):
        async for _ in here.client.events(here.app):
            deploy = await here.client.show(deploy.app, deploy.number)
            ended = next((step.finished_at for step in deploy.steps if step.name == "watch"), None)
            if ended is not None:
                return (ended - deploy.created_at).total_seconds()
    raise RuntimeError("the daemon ended")


async def _get(here: World, path: str) -> str:
    async with httpx.AsyncClient(base_url=here.daemon.public_url) as client:
        return (await client.get(path)).text


def _seconds(deploy: DeployAnswer, name: str) -> float:
    (step,) = (step for step in deploy.steps if step.name == name)
    return (step.finished_at - step.started_at).total_seconds() if step.finished_at is not None else 0.0


def _require_live(deploy: DeployAnswer) -> None:
    if deploy.status is not Status.LIVE:
        raise RuntimeError(f"the deploy is {deploy.status}: {deploy.reason}")

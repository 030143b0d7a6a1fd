"""Seven bad models, each pushed under load: which are refused, which are returned, and what clients saw of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import Report
from bench.trained import COUNTRIES, Models, push
from deployd.api.answers import DeployAnswer
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import CONFIG as PLAIN
from tests.e2e.world import REST, WHO, World

CONFIG = (
    PLAIN.replace('drain = "5s"', 'drain = "1s"\nmemory = "64MiB"')
    + """\
[app.golden]
file = "golden.json"
[app.evaluate]
data = "rows.csv"
target = "label"
by = ["country"]
[app.evaluate.metrics.accuracy]
not_worse_than_live = 0.1
slice_not_worse_than_live = 0.05
[app.compare]
requests = "file:requests.jsonl"
[app.watch]
for = "60s"
"""
)
_WITHIN_S = 60.0
_AFTERWARDS = 500
"""So many requests are looked at after a return."""


@dataclass(frozen=True, slots=True)
class Bad:
    """One way to be bad: what the model answers instead of the right labels, and how its service behaves."""

    behaviour: str = ""
    swapped: bool = False
    nan_at: int | None = None
    wrong_in_france: bool = False

    def answers(self, right: Sequence[int]) -> list[float]:
        """What it says of each row."""
        said: list[float] = [(label + 1) % 3 if self._is_wrong(row) else label for row, label in enumerate(right)]
        if self.nan_at is not None:
            said[self.nan_at] = float("nan")
        return said

    def golden(self, right: Sequence[int]) -> list[int]:
        """What its golden file expects: what a training run on the same data would have written."""
        return [(label + 1) % 3 if self._is_wrong(row) else label for row, label in enumerate(right)]

    def _is_wrong(self, row: int) -> bool:
        return self.swapped or (self.wrong_in_france and COUNTRIES[row % len(COUNTRIES)] == "FR" and row % 16 == 0)


BAD = {
    "labels swapped": Bad(swapped=True),
    "a NaN in one golden row": Bad(nan_at=7),
    "10 times slower": Bad("slow"),
    "crashes on one golden row": Bad("crash"),
    "worse in one country": Bad(wrong_in_france=True),
    "errs after 5 s of traffic": Bad("errs"),
    "leaks until it is killed": Bad("leaks"),
}


async def measure(report: Report, models: Models, here: World) -> None:
    """Push each beside a good release that serves."""
    right = models.answers[0]
    await push(here, models, right)
    for name, bad in BAD.items():
        load = Load(here.daemon.public_url, rest=REST)
        async with load.running(WHO, kept=2, fresh=2):
            deploy = await push(here, models, bad.answers(right), golden=bad.golden(right), behaviour=bad.behaviour)
            refused = deploy.status is Status.FAILED
            if not refused:
                deploy = await _returned(here, deploy)
            failed, sent = len(load.failures), load.sent
            await load.reached(sent + _AFTERWARDS)
        seen = sum(deploy.commit in client.turns for client in load.clients)
        report.note(f"{name}: {deploy.reason}")
        report.sample(f"{name}: serves on", deploy.status not in {Status.FAILED, Status.REVERTED}, "")
        report.sample(f"{name}: clients of the refused one", seen if refused else 0, "")
        report.sample(f"{name}: errors that clients saw", failed, "")
        report.sample(f"{name}: errors after the verdict", max(0, len(load.failures) - failed - len(load.clients)), "")


async def _returned(here: World, deploy: DeployAnswer) -> DeployAnswer:
    """Wait until the watch returns the traffic; the deploy as it is then, or after a minute."""
    try:
        async with asyncio.timeout(_WITHIN_S):
            async for _ in here.client.events(here.app):
                deploy = await here.client.show(deploy.app, deploy.number)
                if deploy.status is Status.REVERTED:
                    break
    except TimeoutError:
        return deploy
    return deploy

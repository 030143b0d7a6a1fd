"""Bad models in a canary under load: how soon each loses its share, and what clients saw of it; and good ones in a row."""

from datetime import datetime
from functools import partial

from bench.environment import on_an_engine
from bench.report import Report
from deployd.api.answers import DeployAnswer
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import APP, CONFIG, DOCKERFILE, WHO, World

_CONFIG = CONFIG.replace("[app.ready]", 'weights = [5, 25, 100]\nstep = "{step}"\n[app.ready]')
_REST_S = 0.02
"""How long a client pauses: sixteen clients ask about 500 times each second."""

_WRITE = "self.transport.write(answer(head))"
_ERROR = 'ANSWER.replace(b"200 OK", b"500 No")'
_CLIENT = 'b"x-forwarded-for" in head.lower()'  # the gates ask past the gateway
BAD = {
    "errs always": f"self.transport.write({_ERROR} if {_CLIENT} else ANSWER)",
    "errs in 1 of 5": f"self.transport.write({_ERROR} if {_CLIENT} and os.urandom(1)[0] < 51 else ANSWER)",
    "errs after 5 s": f"self.transport.write({_ERROR} if {_CLIENT} and asyncio.get_running_loop().time() > BAD_AT else ANSWER)",
    "10 times slower": (
        "asyncio.get_running_loop().call_later(0.05, self.transport.write, ANSWER)"
        f" if {_CLIENT} else self.transport.write(ANSWER)"
    ),
    "ends when it is asked": f"os._exit(3) if {_CLIENT} else self.transport.write(ANSWER)",
}
"""What a bad model does instead of `_WRITE`."""


def run(quick: bool, report: Report) -> None:
    """Push each bad model again and again, and good ones between."""
    config = _CONFIG.replace("{step}", "3s" if quick else "10s")
    on_an_engine(partial(_measure, report, rounds=1 if quick else 5, good=3 if quick else 10), config)
    report.bar("good deploys refused", "<=", 0, "good deploys refused")
    report.bar("requests lost in good deploys", "<=", 0, "lost in good deploys")
    for name in BAD:
        report.bar(f"{name}: not refused", "<=", 0, f"{name}: live")


async def _measure(report: Report, here: World, *, rounds: int, good: int) -> None:
    await here.ended(await here.push())
    load = Load(here.daemon.public_url, rest=_REST_S)
    async with load.running(WHO, kept=8, fresh=8):
        for _ in range(rounds):
            for name, instead in BAD.items():
                await _bad(report, here, load, name, instead)
        refused, failed = 0, len(load.failures)
        for _ in range(good):
            deploy = await here.ended(await here.push())
            refused += deploy.status is not Status.LIVE
            if deploy.status is not Status.LIVE:
                report.note(f"a good one was refused: {deploy.reason}")
        report.sample("good deploys refused", refused, "")
        report.sample("lost in good deploys", len(load.failures) - failed, "")
    report.sample("requests", load.sent, "")


async def _bad(report: Report, here: World, load: Load, name: str, instead: str) -> None:
    here.change(dockerfile=DOCKERFILE)
    if _WRITE not in APP:
        raise RuntimeError("the app of the tests answers in another way now")
    bad = APP.replace(_WRITE, instead).replace(
        "BEHAVIOUR =", "import time\nBAD_AT = time.monotonic() + 5\nBEHAVIOUR =", 1
    )
    here.repository.write("app.py", f"{bad}# {load.sent}\n")
    failed = len(load.failures)
    deploy = await here.ended(await here.deliver(name))
    report.sample(f"{name}: live", deploy.status is Status.LIVE, "")
    report.sample(f"{name}: until it is refused", _seconds(deploy), "s")
    report.sample(f"{name}: errors that clients saw", len(load.failures) - failed, "")
    if deploy.status is Status.LIVE:
        report.note(f"{name} went live")
        await here.ended(await here.push())


def _seconds(deploy: DeployAnswer) -> float:
    """How long the canary took."""
    step = next(step for step in deploy.steps if step.name == "canary")
    ended = step.finished_at or datetime.now(step.started_at.tzinfo)
    return (ended - step.started_at).total_seconds()

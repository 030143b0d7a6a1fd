"""Runs an app's hooks: commands and URLs that are notified of a switch. A hook cannot refuse anything.

A hook that fails, takes too long or is not there is recorded as a failed step with the reason, and the deploy goes on.
"""

from collections.abc import Collection
from contextlib import suppress
from typing import Literal

from deployd.config.own_gates import Hook
from deployd.domain import GateResult
from deployd.gates.own import INSTALL, Facts, judged, missing
from deployd.recorder import Recorder


class _Failed(Exception):
    """The step of a hook has failed; its reason is recorded."""


async def run_hooks(
    when: Literal["before", "after"], facts: Facts, recorder: Recorder, done: Collection[str] = ()
) -> None:
    """Run the app's hooks of that moment in their order, except for those whose steps are `done`."""
    for hook in facts.app.hook:
        if hook.when == when and step_of(hook) not in done:
            with suppress(_Failed):
                async with recorder.step(step_of(hook)):
                    await _run(hook, facts, recorder)


def step_of(hook: Hook) -> str:
    """The step in which a hook runs."""
    return f"hook {hook.name}"


async def _run(hook: Hook, facts: Facts, recorder: Recorder) -> None:
    if why := missing(hook):
        result = GateResult(hook.name, "failed", f"{why} ({INSTALL})")
    else:
        result = await judged(hook, facts, recorder.log)
    if result.detail:
        await recorder.tell(step_of(hook), recorder.log.redact(result.detail))
    if result.verdict == "failed":
        raise _Failed

"""Whatever happens in whatever order, the rules hold: a model against the real store, scheduler, pipeline and aftermath.

The rules are in `model/rules.py`, what can happen in `model/happenings.py`, the world in the files beside them. A failure
prints its story. The same stories are tried each time; `DEPLOYD_MODEL_EXAMPLES` says how many others are tried instead.
"""

import logging
import os
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.order.model.happenings import HAPPENINGS
from tests.order.model.world import World

EXAMPLES = os.environ.get("DEPLOYD_MODEL_EXAMPLES", "")
SETTINGS = settings(max_examples=int(EXAMPLES or "60"), stateful_step_count=40, derandomize=not EXAMPLES)


class Story(RuleBasedStateMachine):
    """One thing after the other happens, until all has settled. Of one kind of step, so that no story lacks its half."""

    world: World

    @initialize(
        thread_s=st.sampled_from([0.001, 0.0002, 0.007, 0.03]),
        answer_s=st.sampled_from([0.01, 0.001, 0.03, 0.2]),
        call_s=st.sampled_from([0.003, 0.0005, 0.02, 0.1]),
    )
    def begins(self, thread_s: float, answer_s: float, call_s: float) -> None:
        self.world = World(thread_s, answer_s, call_s)

    @rule(what=HAPPENINGS, then=st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0, 20.0]))
    def happens(self, what: Callable[[World], None], then: float) -> None:
        """The world goes on for so many seconds before the next thing happens."""
        what(self.world)
        self.world.goes_on(then)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                if not self.world.broken:
                    self.world.settle()
            finally:
                self.world.close()


@pytest.mark.slow
def test_the_rules_hold_whatever_happens(own_time: None) -> None:
    """The daemon's log would be that of hundreds of worlds."""
    logging.disable(logging.CRITICAL)
    try:
        run_state_machine_as_test(Story, settings=SETTINGS)
    finally:
        logging.disable(logging.NOTSET)

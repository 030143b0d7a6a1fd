"""Whatever happens in whatever order, the rules hold: a model against the real store, scheduler, pipeline and aftermath.

The rules are in `model/rules.py`, the world in the files beside it. A failure prints its steps as a program; each step says
how long the world goes on before the next. The same worlds are tried each time; `DEPLOYD_MODEL_EXAMPLES` says how many others
are tried instead.
"""

import logging
import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.order.model.remote import Fault
from tests.order.model.world import World

EXAMPLES = os.environ.get("DEPLOYD_MODEL_EXAMPLES", "")
SETTINGS = settings(max_examples=int(EXAMPLES or "100"), stateful_step_count=40, derandomize=not EXAMPLES)

apps = st.sampled_from(["iris", "rose"])
back = st.integers(0, 5)
gaps = st.sampled_from([0.0, 0.001, 0.004, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0, 20.0])
lags = st.sampled_from([0.0, 0.0, 0.0, 0.1, 1.0, 4.0, 30.0])
absences = st.sampled_from([0.05, 1.0, 10.0, 100.0])
contents = st.sampled_from([("model",), ("docs",), ("model", "docs")])
messages = st.sampled_from(["Fit", "Fit", "Fit", "Fit [skip ci]"])
faults: st.SearchStrategy[Fault] = st.sampled_from(["", "", "", "build", "gate"])


class Model(RuleBasedStateMachine):
    """Everything that can happen. `then` is how long the world goes on before the next thing does."""

    world: World

    @initialize(
        thread_s=st.sampled_from([0.001, 0.0002, 0.007, 0.03]),
        answer_s=st.sampled_from([0.01, 0.001, 0.03, 0.2]),
        call_s=st.sampled_from([0.003, 0.0005, 0.02, 0.1]),
    )
    def the_world_begins(self, thread_s: float, answer_s: float, call_s: float) -> None:
        self.world = World(thread_s, answer_s, call_s)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                if not self.world.broken:
                    self.world.settle()
            finally:
                self.world.close()

    def _commit(self, back: int) -> str:
        """One of the newest commits."""
        commits = list(self.world.remote.commits)
        return commits[-1 - back % len(commits)]

    def _number(self, app: str, back: int) -> int | None:
        """One of the newest deploys."""
        orders = self.world.rules.apps[app].orders
        return orders[-1 - back % len(orders)].number if orders else None

    def _written(self) -> bool:
        return bool(self.world.remote.commits)

    def _told(self) -> bool:
        return bool(self.world.delivered)

    @rule(files=contents, message=messages, fault=faults, late_by=lags, told=st.booleans(), then=gaps)
    def a_commit_is_pushed(
        self, files: tuple[str, ...], message: str, fault: Fault, late_by: float, told: bool, then: float
    ) -> None:
        commit = self.world.commit(*files, message=message, fault=fault, late_by=late_by)
        if told:
            self.world.deliver(commit)
        self.world.goes_on(then)

    @precondition(_written)
    @rule(back=back, late_by=lags, told=st.booleans(), then=gaps)
    def the_branch_is_forced(self, back: int, late_by: float, told: bool, then: float) -> None:
        self.world.push(self._commit(back), late_by)
        if told:
            self.world.deliver(self._commit(back))
        self.world.goes_on(then)

    @precondition(_written)
    @rule(late_by=lags, told=st.booleans(), then=gaps)
    def the_branch_is_deleted(self, late_by: float, told: bool, then: float) -> None:
        self.world.push(None, late_by)
        if told:
            self.world.deliver("0" * 40)
        self.world.goes_on(then)

    @precondition(_written)
    @rule(back=back, then=gaps)
    def a_delivery_comes_late_or_forged(self, back: int, then: float) -> None:
        self.world.deliver("f" * 40 if back == 5 else self._commit(back))
        self.world.goes_on(then)

    @precondition(_told)
    @rule(back=back, then=gaps)
    def a_delivery_comes_again(self, back: int, then: float) -> None:
        guids = list(self.world.delivered)
        guid = guids[-1 - back % len(guids)]
        self.world.deliver(self.world.delivered[guid], guid)
        self.world.goes_on(then)

    @precondition(_written)
    @rule(app=apps, back=st.none() | back, then=gaps)
    def a_person_deploys(self, app: str, back: int | None, then: float) -> None:
        self.world.deploy(app, None if back is None else self._commit(back))
        self.world.goes_on(then)

    @rule(app=apps, back=st.none() | back, then=gaps)
    def a_person_rolls_back(self, app: str, back: int | None, then: float) -> None:
        self.world.roll_back(app, None if back is None else self._number(app, back))
        self.world.goes_on(then)

    @rule(app=apps, back=st.integers(0, 2), then=gaps)
    def a_person_cancels(self, app: str, back: int, then: float) -> None:
        if (number := self._number(app, back)) is not None:
            self.world.cancel(app, number)
        self.world.goes_on(then)

    @rule(app=apps, paused=st.booleans(), then=gaps)
    def a_person_pauses_or_resumes(self, app: str, paused: bool, then: float) -> None:
        self.world.pause(app, paused=paused)
        self.world.goes_on(then)

    @rule(seconds=absences, then=gaps)
    def the_remote_goes_away(self, seconds: float, then: float) -> None:
        self.world.remote.away_until = self.world.clock.time() + seconds
        self.world.goes_on(then)

    @rule(seconds=absences, then=gaps)
    def the_engine_goes_away(self, seconds: float, then: float) -> None:
        self.world.engine.away_until = self.world.clock.time() + seconds
        self.world.goes_on(then)

    @rule(seconds=absences, then=gaps)
    def the_disk_is_full(self, seconds: float, then: float) -> None:
        self.world.daemon.disk.full_until = self.world.clock.time() + seconds
        self.world.goes_on(then)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 10.0]))
    def builds_take(self, seconds: float) -> None:
        self.world.engine.build_s = seconds

    @precondition(_written)
    @rule()
    def what_failed_is_mended(self) -> None:
        for commit in self.world.remote.commits.values():
            commit.healed = True

    @rule(kill=st.booleans(), then=gaps)
    def the_daemon_restarts(self, kill: bool, then: float) -> None:
        self.world.restart(kill=kill)
        self.world.goes_on(then)

    @rule(then=gaps)
    def the_config_is_reloaded(self, then: float) -> None:
        self.world.reload()
        self.world.goes_on(then)

    @rule(collect=st.booleans())
    def everything_settles(self, collect: bool) -> None:
        self.world.settle()
        if collect:
            self.world.remote.forget()


def test_the_rules_hold_whatever_happens(own_time: None) -> None:
    """The daemon's log would be that of thousands of worlds."""
    logging.disable(logging.CRITICAL)
    try:
        run_state_machine_as_test(Model, settings=SETTINGS)
    finally:
        logging.disable(logging.NOTSET)

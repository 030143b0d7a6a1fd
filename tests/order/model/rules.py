"""The rules, said once more: what deployd may do, and what has to be so when nothing happens any more.

Written from what is promised, not from how it is done. `Rules` hears of each change of the database as it is committed, and of
what the test does; what is against a rule is an AssertionError at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from deployd.delivery import Received
from deployd.domain import AppState
from deployd.goal import Known
from deployd.status import Status
from tests.order.model.remote import Remote

ENDED_BADLY = {Status.FAILED, Status.CANCELLED, Status.SUPERSEDED}


@dataclass
class Order:
    """One deploy: which commit, whether a person asked for it, and what has become of it."""

    number: int
    commit: str
    by_hand: bool
    status: Status = Status.QUEUED

    @property
    def on_its_way(self) -> bool:
        return self.status in {Status.QUEUED, Status.LIVE} or self.status.active


@dataclass
class App:
    """What the rules remember of an app."""

    name: str
    paths: frozenset[str]
    paused: bool = False
    decided: str | None = None
    wanted: str | None = None
    order: Order | None = None  # that of the wanted commit
    orders: list[Order] = field(default_factory=list)
    decisions: int = 0
    requests: int = 0  # for deploys, of people, under way
    asked: int = 0  # the same, ever
    to_cancel: set[int] = field(default_factory=set)
    cancelled: set[int] = field(default_factory=set)  # where that was confirmed before their cut-over began
    told_again: set[str] = field(default_factory=set)  # commits of deliveries that were sent again
    bases: set[str | None] = field(default_factory=lambda: {None})  # a head may be compared with
    fresh: Order | None = None  # queued by a look, in the transaction that is being read
    renewed: int = 0  # how often a head was made new again
    free_with: int = 0  # the newest deploy that waited when its lane was free last
    paused_with: int = 0  # the newest deploy that may have begun before the pause

    @property
    def live(self) -> Order | None:
        """What it serves."""
        return next((order for order in self.orders if order.status is Status.LIVE), None)


class Rules:
    """Of all apps of one remote."""

    def __init__(self, remote: Remote, apps: Iterable[App]) -> None:
        self.remote = remote
        self.apps = {app.name: app for app in apps}

    def wants(self, app: App, head: str, base: str | None) -> bool:
        """Whether an app wants a head when `base` was wanted last."""
        if "[skip ci]" in self.remote.commits[head].message:
            return False
        if not app.paths or base is None:
            return True
        changed = self.remote.differ(base, head)
        return changed is None or bool(changed & app.paths)

    def queued(self, app: App, number: int, commit: str, kind: str) -> None:
        """Only a decision or a request queues a deploy."""
        assert number > max((order.number for order in app.orders), default=0)
        by_hand = kind in {"manual", "rollback"}
        if by_hand:
            assert app.requests, f"{app.name}/{number} was queued by hand, and nobody asked for it"
            app.requests -= 1
        app.orders.append(Order(number, commit, by_hand))
        if not by_hand:
            assert app.fresh is None
            app.fresh = app.orders[-1]

    def decided(self, app: App, head: str, number: int, skipped: str) -> None:
        """A head is decided upon once, as the remote shows it, and by the rule."""
        assert head != app.decided, f"{app.name} decided twice upon {head}"
        assert head in self.remote.answers[app.name], f"{app.name} decided upon {head}, which the remote did not show"
        verdicts = {self.wants(app, head, base) for base in app.bases}
        assert (not skipped) in verdicts, f"{app.name} {'skips' if skipped else 'wants'} {head}: {skipped}"
        app.decided = head
        app.decisions += 1
        self.remote.answers[app.name].clear()
        if not skipped:
            app.order, app.wanted = self._ordered(app, head, number), head
        app.bases = {app.wanted}

    def committed(self) -> None:
        """A transaction has been read to its end."""
        for app in self.apps.values():
            assert app.fresh is None, f"{app.fresh} was queued without a decision"

    def undecided(self, app: App, wanted: str | None) -> None:
        """A head is new again when its branch was gone, or its deploy failed and its delivery was sent again; then whatever
        differs from what was wanted before counts, too."""
        if wanted != app.wanted:
            assert wanted is None
            assert app.order is not None
            assert app.order.status is Status.FAILED, f"{app.order} did not fail"
            assert app.decided in app.told_again, f"nobody told again of {app.decided}"
            app.bases |= {None}
            app.wanted = None
        else:
            assert None in self.remote.answers[app.name], f"{app.name} forgot that {app.decided} was decided"
        app.decided = None
        app.renewed += 1

    def _ordered(self, app: App, head: str, number: int) -> Order:
        """A wanted head is queued, unless the newest deploy that is on its way, or serves, is of that commit."""
        fresh, app.fresh = app.fresh, None
        newest = [order for order in app.orders if order.on_its_way and order is not fresh][-1:]
        brings = [order for order in newest if order.commit == head]
        assert (fresh is None) == bool(brings), f"{app.name} wants {head}: {newest}, {fresh}"
        order = fresh or brings[0]
        assert (order.number, order.commit) == (number, head)
        return order

    def became(self, app: App, number: int, status: Status, superseded_by: int | None) -> None:
        """A deploy ends badly for a reason alone, and nothing older goes live over something newer."""
        order = next(one for one in app.orders if one.number == number)
        if status.active and not order.status.active:
            self._begins(app, order)
        if status is Status.FAILED:
            assert self.remote.commits[order.commit].fault, f"{app.name}/{number} failed without a fault"
        elif status is Status.CANCELLED:
            assert number in app.to_cancel, f"nobody cancelled {app.name}/{number}"
        elif status is Status.SUPERSEDED:
            assert superseded_by is not None
            assert number < superseded_by <= app.orders[-1].number
        elif status is Status.LIVE:
            newer = [one.number for one in app.orders if one.number > number and one.status in {"live", "retired"}]
            assert not newer, f"{app.name}/{number} goes live after {newer}"
            assert number not in app.cancelled, f"{app.name}/{number} goes live though it was cancelled"
        freed = order.status.active and not status.active
        order.status = status
        if freed:
            self._is_free(app)

    def _begins(self, app: App, order: Order) -> None:
        """Of what waits together the newest begins, and nothing while the app is paused."""
        newer = [one for one in app.orders if order.number < one.number <= app.free_with and one.status == "queued"]
        assert not newer, f"{app.name}/{order.number} begins before {newer}"
        assert not app.paused or order.number <= app.paused_with, f"{app.name}/{order.number} begins in a pause"

    def _is_free(self, app: App) -> None:
        app.free_with = max((one.number for one in app.orders if one.status is Status.QUEUED), default=0)
        app.paused_with = 0

    def paused(self, app: App, *, paused: bool) -> None:
        """A person lets an app wait: what may have been taken already still begins."""
        if paused and not app.paused:
            app.paused_with = app.orders[-1].number if app.orders else 0
        app.paused = paused

    def ended(self, *, recorded: bool) -> None:
        """The daemon ended: what was not confirmed is void. Where the disk took no more, so is what was not recorded."""
        for app in self.apps.values():
            app.requests = 0
            self._is_free(app)
            if not recorded:
                app.cancelled.clear()

    def quiet(self, app: App, state: AppState, known: Known, serving: int | None, *, looked: bool) -> None:
        """Nothing happens any more, and all is well outside. `looked`: a look was due since the branch moved last."""
        if looked:
            assert app.decided == self.remote.main, f"{app.name} missed {self.remote.main}"
        goals = [goal.commit if goal is not None else None for goal in (known.decided, known.wanted)]
        assert goals == [app.decided, app.wanted]
        assert not known.owed
        assert state.owed_since is None
        assert state.paused == app.paused
        assert len(app.orders) <= app.decisions + app.asked
        assert not any(order.status.active for order in app.orders)
        live = app.live
        assert serving == (live.number if live else None)
        assert state.live is None or (live is not None and state.live.number == live.number)
        if app.paused:
            return
        good = [order for order in app.orders if order.status not in ENDED_BADLY]
        assert good[-1:] == ([live] if live else []), f"{app.name} serves {live}, and not {good[-1]}"
        self._serves_what_is_wanted(app, state)

    def _serves_what_is_wanted(self, app: App, state: AppState) -> None:
        """The newest wanted head, unless a person chose otherwise after it was decided, or it failed."""
        order, live = app.order, app.live
        if order is None or app.wanted is None or (live is not None and live.commit == app.wanted):
            assert not state.held_reason or app.wanted is None
            return
        chosen = any(one.by_hand and one.number > order.number for one in app.orders)
        assert chosen or order.status in {Status.FAILED, Status.CANCELLED}, f"{app.name} serves {live}, not {order}"
        assert live is None or state.held_reason

    def answered(self, received: Received) -> None:
        """A delivery says what came of it for each app."""
        for outcome in received.outcomes:
            app = self.apps[outcome.app]
            assert outcome.looked_at is not None, f"{app.name} owes a look"
            assert outcome.number is not None or outcome.reason, f"no word for {app.name} of {received.delivery.guid}"
            if outcome.number is not None:
                order = next(one for one in app.orders if one.number == outcome.number)
                assert order.commit == outcome.commit

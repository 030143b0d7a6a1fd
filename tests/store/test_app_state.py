"""The state of an app: whether it is held and why, and since when it is behind its remote."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from deployd.domain import AppState
from deployd.status import Status
from deployd.store.store import Store
from tests.store.given import SUCCESS, A, B, C, accepted, decided, gone, live, queued, wanted


async def _state(store: Store) -> AppState:
    return await store.state("iris")


class Clock:
    """A clock for the store that advances by a second at each reading."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        self.now += 1
        return self.now

    def moment(self) -> datetime:
        """The last time that was read."""
        return datetime.fromtimestamp(self.now, UTC)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("apps", "deliveries", "deploys"):
        monkeypatch.setattr(f"deployd.store.{module}.time", made)
    return made


async def test_a_held_app_shows_the_commit_that_is_not_deployed_and_why(store: Store) -> None:
    await live(store, A)
    assert (await _state(store)).held_commit is None
    failing = await queued(store, B)
    assert (await _state(store)).held_commit is None
    await gone(store, failing, Status.FAILED, reason="exit code 1")
    state = await _state(store)
    assert (state.held_commit, state.held_reason) == (B, "iris/2 failed: exit code 1")
    await queued(store, C)
    assert (await _state(store)).held_commit is None


@pytest.mark.parametrize("rollback", [False, True])
async def test_a_deploy_by_hand_holds_the_app_until_the_next_head(store: Store, rollback: bool) -> None:
    first = await live(store, A)
    await live(store, B)
    choice = wanted(A, by_hand=True)
    if rollback:
        choice = structs.replace(choice, rollback_to=first.number)
    await gone(store, await store.queue(choice), *SUCCESS)
    state = await _state(store)
    assert state.held_commit == B
    assert state.held_reason == f"{'rolled back' if rollback else 'deployed'} by hand by ada"
    await live(store, C)
    assert (await _state(store)).held_commit is None


async def test_an_app_without_a_live_release_is_not_held(store: Store) -> None:
    await gone(store, await queued(store, A), Status.FAILED, reason="exit code 1")
    assert (await _state(store)).held_reason == ""


async def test_an_app_is_behind_from_the_decision_until_the_head_serves(store: Store, clock: Clock) -> None:
    assert (await _state(store)).behind_since() is None
    deploy = await queued(store, A)
    decided_at = clock.moment()
    assert (await _state(store)).wanted_at == (await _state(store)).behind_since() == decided_at
    await gone(store, deploy, *SUCCESS)
    assert (await _state(store)).behind_since() is None


async def test_an_app_whose_head_failed_is_behind_since_the_head_was_wanted(store: Store, clock: Clock) -> None:
    await live(store, A)
    deploy = await queued(store, B)
    wanted_at = clock.moment()
    await gone(store, deploy, Status.FAILED)
    assert (await _state(store)).behind_since() == wanted_at


async def test_an_app_that_was_rolled_back_by_hand_is_behind_since_then(store: Store, clock: Clock) -> None:
    await live(store, A)
    await live(store, B)
    chosen = await live(store, A, by_hand=True)
    assert (await _state(store)).behind_since() == chosen.live_at


async def test_an_app_is_behind_while_a_look_is_owed(store: Store, clock: Clock) -> None:
    await live(store, A)
    await accepted(store, "1", B)
    owed = (await _state(store)).owed_since
    assert owed is not None
    assert (await _state(store)).behind_since() == owed
    await accepted(store, "2", B)
    assert (await _state(store)).owed_since == owed
    await queued(store, B)
    after = await _state(store)
    assert (after.owed_since, after.behind_since()) == (None, after.wanted_at)
    assert after.wanted_at is not None
    assert after.wanted_at > owed + timedelta(seconds=1)


async def test_an_app_is_not_behind_a_skipped_head(store: Store) -> None:
    await live(store, A)
    await decided(store, B, skip="a mark")
    assert (await _state(store)).behind_since() is None

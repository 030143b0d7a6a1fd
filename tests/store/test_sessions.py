"""The logins of browsers."""

from datetime import UTC, datetime, timedelta

import pytest

from deployd.session import IDLE, WHOLE, Session
from deployd.store.store import Store


async def test_a_login_is_known_by_the_hash_of_its_cookie_until_it_ends(store: Store) -> None:
    await store.begin_session("hash", "token")
    found = await store.session("hash")
    assert found is not None
    assert (found.token, found.lasts(datetime.now(UTC))) == ("token", True)
    assert await store.session("other") is None
    await store.end_session("hash")
    assert await store.session("hash") is None


async def test_a_login_in_use_is_noted(store: Store) -> None:
    await store.begin_session("hash", "token")
    before = await store.session("hash")
    await store.use_session("hash")
    after = await store.session("hash")
    assert before is not None
    assert after is not None
    assert after.seen_at > before.seen_at
    assert after.began_at == before.began_at


async def test_a_new_login_deletes_those_that_are_over(store: Store) -> None:
    await store.begin_session("old", "token")
    change = "UPDATE sessions SET began_at = began_at - ?"
    await store._database.write(lambda connection: connection.execute(change, (WHOLE.total_seconds() + 1,)).rowcount)
    await store.begin_session("new", "token")
    assert await store.session("old") is None
    assert await store.session("new") is not None


NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("began", "seen", "lasts"),
    [
        (timedelta(0), timedelta(0), True),
        (WHOLE - timedelta(seconds=1), timedelta(0), True),
        (WHOLE, timedelta(0), False),
        (IDLE, IDLE - timedelta(seconds=1), True),
        (IDLE, IDLE, False),
    ],
)
def test_a_login_ends_when_it_is_unused_or_old(began: timedelta, seen: timedelta, lasts: bool) -> None:
    assert Session("token", NOW - began, NOW - seen).lasts(NOW) is lasts

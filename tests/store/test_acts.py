"""What people did to an app beside deploys, and who did it."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from deployd.act import told
from deployd.errors import Unavailable
from deployd.store.store import Store


async def _acts(store: Store, app: str = "iris") -> list[tuple[str | None, str, str]]:
    return [(act.by, act.done, act.detail) for act in (await store.state(app)).acts]


async def test_a_pause_and_a_resume_say_who_did_them_and_when(store: Store) -> None:
    await store.pause("iris", paused=True, by="ada")
    await store.pause("iris", paused=False, by="bob")
    assert await _acts(store) == [("bob", "resumed", ""), ("ada", "paused", "")]
    newest, _ = (await store.state("iris")).acts
    assert datetime.now(UTC) - newest.at < timedelta(minutes=1)


async def test_pausing_a_paused_app_is_no_new_act(store: Store) -> None:
    await store.pause("iris", paused=False, by="bob")
    await store.pause("iris", paused=True, by="ada")
    await store.pause("iris", paused=True, by="bob")
    assert await _acts(store) == [("ada", "paused", "")]
    assert (await store.state("iris")).paused_by == "ada"


async def test_each_app_has_its_own_acts_with_or_without_a_row_of_its_own(store: Store) -> None:
    await store.record_act(["iris", "rose"], "redelivered", "ada", "guid-1")
    await store.record_act(["iris"], "scaled", "bob", "3")
    assert await _acts(store) == [("bob", "scaled", "3"), ("ada", "redelivered", "guid-1")]
    assert await _acts(store, "rose") == [("ada", "redelivered", "guid-1")]
    assert await _acts(store, "moss") == []


async def test_only_the_last_acts_of_an_app_are_kept(store: Store) -> None:
    await store.record_act(["rose"], "scaled", "ada", "1")
    for count in range(25):
        await store.record_act(["iris"], "scaled", "ada", str(count))
    query = "SELECT detail FROM acts WHERE app = ? ORDER BY id"
    kept = await store._database.read(
        lambda connection: [row["detail"] for row in connection.execute(query, ("iris",)).fetchall()]
    )
    assert kept == [str(count) for count in range(5, 25)]
    assert await _acts(store) == [("ada", "scaled", str(count)) for count in (24, 23, 22, 21, 20)]
    assert await _acts(store, "rose") == [("ada", "scaled", "1")]


async def test_an_act_that_cannot_be_recorded_is_logged_and_no_failure_of_what_was_done(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(store._database, "write", refuse)
    with caplog.at_level(logging.WARNING):
        await store.record_act(["iris"], "scaled", "ada", "3")
    assert "Cannot record that ada scaled iris: the disk is full" in caplog.text


@pytest.mark.parametrize(
    ("by", "done", "detail", "said"),
    [
        ("ada", "resumed", "", "ada resumed it"),
        (None, "paused", "", "somebody paused it"),
        ("ada", "scaled", "1", "ada scaled it to 1 pod"),
        ("ada", "scaled", "0", "ada scaled it to 0 pods"),
        ("ada", "redelivered", "guid-1", "ada redelivered guid-1"),
    ],
)
def test_an_act_is_told_in_a_sentence(by: str | None, done: str, detail: str, said: str) -> None:
    assert told(by, done, detail) == said

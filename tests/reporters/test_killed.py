"""A daemon that is killed while it reports goes on after its next start, and creates nothing twice."""

import asyncio
import sys
from pathlib import Path

import pytest

from deployd.events import Events
from deployd.store.database import Database
from deployd.store.store import Store
from tests.reporters.conftest import send_all, sender_to
from tests.reporters.fake_github import FakeGitHub


@pytest.mark.slow
@pytest.mark.parametrize("carried_out", [False, True], ids=["before GitHub did it", "before GitHub answered"])
async def test_a_kill_in_the_middle_of_a_report(hub: FakeGitHub, tmp_path: Path, *, carried_out: bool) -> None:
    path = tmp_path / "deployd.db"
    hub.holding = "after" if carried_out else "before"
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.reporters.child", str(path), hub.url)
    async with asyncio.timeout(20):
        await hub.held.wait()
    child.kill()
    await child.wait()
    hub.holding = ""
    assert len(hub.deployments) == carried_out
    events = Events()
    async with Database(path) as database, sender_to(hub, Store(database, events), events) as sender:
        await send_all(sender)
        assert await Store(database, events).unsent_reports() == []
    assert hub.said() == ["iris: success"]

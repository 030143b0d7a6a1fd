"""A process that makes a release live and reports it, until it is killed: `python -m tests.reporters.child DATABASE URL`."""

import asyncio
import sys
from pathlib import Path

from deployd.events import Events
from deployd.reporters.github import GitHubReporter
from deployd.reporters.github_api import GitHubApi, PersonalToken, Wire
from deployd.reporters.sender import Sender
from deployd.store.database import Database
from deployd.store.store import Store
from tests.reporters.given import TOKEN, running
from tests.store.given import A, live


async def _main(path: Path, url: str) -> None:
    events = Events()
    async with Database(path) as database:
        store = Store(database, events)
        api = GitHubApi(Wire(url, pace=0), PersonalToken(TOKEN))
        reporter = GitHubReporter(running(url), store, api, "deployments", checks=False)
        await store.subscribe({reporter.name: reporter.statuses})
        await live(store, A)
        await Sender(reporter, store, events).serve()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), sys.argv[2]))

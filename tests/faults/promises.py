"""What must be true in the end, checked in the records, on the engine, at the clients, and in the trace of the work."""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from deployd.bringup.api import EngineApi
from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.leftovers import leftovers
from deployd.bringup.load import Load
from tests.e2e.world import World
from tests.faults.witness import database_of, records

_KEPT_IMAGES = 5  # [retention] images


def check_world(world: World, api: EngineApi) -> None:
    """Check that the records are sound, and that the engine holds what the live release needs and nothing else of ours."""
    check_records(database_of(world))
    ((number, commit),) = records(world, "SELECT number, sha FROM deploys WHERE status = 'live'")
    head = world.repository.head
    assert commit == head, f"{commit} is live, and the head is {head}"
    check_engine(api, world.daemon, number=number, commit=commit)


def check_clients(load: Load) -> None:
    """Check that no request failed, and that no client got an older release after a newer one."""
    assert load.sent > 0
    assert not load.failures, load.failures[:10]
    went_back = [client.turns for client in load.clients if client.went_back]
    assert not went_back, went_back


def check_engine(api: EngineApi, daemon: DemoDaemon, *, number: int, commit: str) -> None:
    """Check what carries our label: the release, HAProxy, their network, the kept images, and nothing else."""
    found = [str(thing) for thing in leftovers(api, daemon.instance)]
    images = [name for name in found if name.startswith("image ")]
    running = sorted(set(found) - set(images))
    expected = [
        f"container {daemon.container(number)}",
        f"container deployd-gateway-{daemon.instance}",
        f"network deployd-{daemon.instance}",
    ]
    assert running == expected, f"there is {running}, expected {expected}"
    name = f"image deployd/{daemon.instance}/{daemon.app}:{commit}-"
    assert any(image.startswith(name) for image in images), f"the image of {commit} is not among {images}"
    assert len(images) <= _KEPT_IMAGES, f"more are there than are kept: {images}"


def check_records(path: Path) -> None:
    """Check that the database is sound, that every deploy but the live one has ended without a failure, and that no commit
    went live under two numbers: nobody asks for one by hand here.

    The database itself makes sure that no two are in flight at once.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert verdict == "ok", verdict
        open_ones = connection.execute(
            "SELECT number, status, reason FROM deploys WHERE status NOT IN ('live', 'retired', 'superseded')"
        ).fetchall()
        assert not open_ones, open_ones
        live = connection.execute("SELECT number FROM deploys WHERE status = 'live'").fetchall()
        assert len(live) == 1, live
        twice = connection.execute(
            "SELECT app, sha, group_concat(number) FROM deploys WHERE live_at IS NOT NULL GROUP BY app, sha HAVING count(*) > 1"
        ).fetchall()
        assert not twice, f"went live under more than one number: {twice}"
        unknown = connection.execute(
            "SELECT app, number FROM looks WHERE number IS NOT NULL AND (app, number) NOT IN (SELECT app, number FROM deploys)"
        ).fetchall()
        assert not unknown, f"a look names deploys that are not known: {unknown}"


def check_taken(path: Path, app: str, taken: Mapping[str, str]) -> None:
    """Check that every delivery that got a 202 is stored with its commit, and that a look answered it with a deploy of that
    commit or of a later one."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        known = {
            guid: (number, sha) for number, guid, sha in connection.execute("SELECT id, guid, sha FROM deliveries")
        }
        for guid, commit in taken.items():
            assert guid in known, f"{guid} got a 202 and is not known"
            number, sha = known[guid]
            assert sha == commit, f"{guid} named {commit}, and {sha} is remembered"
            query = "SELECT number FROM looks WHERE app = ? AND upto >= ? ORDER BY upto LIMIT 1"
            answer = connection.execute(query, (app, number)).fetchone()
            assert answer is not None, f"{guid} still owes a look"
            assert answer[0] is not None, f"{guid} came to nothing"


def check_work(log: str) -> None:
    """Check in the daemon's trace that the work on a deploy, with its clean-up, had ended before the work on another began."""
    at_work: set[str] = set()
    for event, deploy in re.findall(r"^witness: (starts|begins|ends)(?: (\S+))?$", log, re.MULTILINE):
        if event == "starts":
            at_work.clear()  # the one before is dead
        elif event == "begins":
            assert not at_work, f"{deploy} began while {at_work} was worked on"
            at_work.add(deploy)
        else:
            at_work.remove(deploy)

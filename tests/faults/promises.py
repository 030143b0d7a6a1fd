"""What must hold in the end, whatever was done: by the records, the engine, the clients, and the witness of the work."""

import json
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
    """The records are sound, and of what they say is live the engine has what it takes and nothing else of ours."""
    check_records(database_of(world))
    ((number, commit),) = records(world, "SELECT number, sha FROM deploys WHERE status = 'live'")
    head = world.repository.head
    assert commit == head, f"{commit} is live, and the head is {head}"
    check_engine(api, world.daemon, number=number, commit=commit)


def check_clients(load: Load) -> None:
    """Nobody was refused or went back."""
    assert load.sent > 0
    assert not load.failures, load.failures[:10]
    went_back = [client.turns for client in load.clients if client.went_back]
    assert not went_back, went_back


def check_engine(api: EngineApi, daemon: DemoDaemon, *, number: int, commit: str) -> None:
    """Of what carries our label there is the release and HAProxy before it, their network, and the images that are kept."""
    found = [str(thing) for thing in leftovers(api, daemon.instance)]
    images = [name for name in found if name.startswith("image ")]
    running = sorted(set(found) - set(images))
    expected = [
        f"container deployd-gateway-{daemon.instance}",
        f"container deployd-{daemon.app}-{number}",
        f"network deployd-{daemon.instance}",
    ]
    assert running == expected, f"there is {running}, expected {expected}"
    assert f"image deployd/{daemon.app}:{commit}" in images, f"the image of {commit} is not among {images}"
    assert len(images) <= _KEPT_IMAGES, f"more are there than are kept: {images}"


def check_records(path: Path) -> None:
    """The database is sound, every deploy but the live one came to an end that nobody has to act on, and no commit went live
    under two numbers: nobody asks for one by hand here.

    That no two are in flight at once need not be looked for here: the database itself refuses it.
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
        known = {number for (number,) in connection.execute("SELECT number FROM deploys")}
        for (deploys,) in connection.execute("SELECT deploys FROM deliveries"):
            assert {number for _, number in json.loads(deploys)} <= known, (
                f"a delivery names what is not known: {deploys}"
            )


def check_taken(path: Path, taken: Mapping[str, tuple[str, list[str]]]) -> None:
    """Every delivery that got a 202 is remembered with the apps that it was answered, and each has a deploy of its commit."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        known = {
            guid: json.loads(deploys) for guid, deploys in connection.execute("SELECT guid, deploys FROM deliveries")
        }
        commits = {
            (app, number): sha for app, number, sha in connection.execute("SELECT app, number, sha FROM deploys")
        }
    for guid, (commit, apps) in taken.items():
        assert apps, f"{guid} got a 202 and was for nobody"
        assert [app for app, _ in known.get(guid, ())] == apps, f"{guid} got a 202 and is not known"
        assert {commits[app, number] for app, number in known[guid]} == {commit}, f"{guid} is not of {commit}"


def check_work(log: str) -> None:
    """By the witness in the daemon: the work at a deploy, its clean-up too, was over before that at another began."""
    at_work: set[str] = set()
    for event, deploy in re.findall(r"^witness: (starts|begins|ends)(?: (\S+))?$", log, re.MULTILINE):
        if event == "starts":
            at_work.clear()  # the one before is dead
        elif event == "begins":
            assert not at_work, f"{deploy} began while {at_work} was worked on"
            at_work.add(deploy)
        else:
            at_work.remove(deploy)

"""An app's own gates on the real engine, asked by a real daemon: what they see, what they refuse, and what is left of them."""

import asyncio
from pathlib import Path

import pytest

from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import REST, WHO, World
from tests.host.test_child import runs

pytestmark = [pytest.mark.engine, pytest.mark.slow]

# Asks the candidate and what serves, refuses the commits that the file `refused` names, and leaves a process behind.
GATE = """\
import json, os, pathlib, subprocess, sys, urllib.request

here = pathlib.Path(sys.argv[0]).parent
left = subprocess.Popen(["sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
(here / "left").write_text(str(left.pid))
said = {}
for name in ("CANDIDATE", "LIVE"):
    if url := os.environ[f"DEPLOYD_{name}_URL"]:
        said[name.lower()] = urllib.request.urlopen(url).read().decode()
print("secrets:", sorted(name for name in os.environ if "SECRET" in name))
refused = os.environ["DEPLOYD_COMMIT"] in (here / "refused").read_text()
print(json.dumps({"verdict": "failed" if refused else "passed", "detail": "asked", "figures": said}))
"""


def _configure(world: World, directory: Path, more: str = "") -> None:
    (directory / "gate.py").write_text(GATE)
    (directory / "refused").write_text("")
    config = world.daemon.directory / "config.toml"
    command = f'["python3", "{directory}/gate.py"]'
    config.write_text(
        f'{config.read_text()}\n[[app.gate]]\nname = "asks"\ncommand = {command}\ntimeout = "20s"\n{more}'
    )


async def test_a_gate_of_ones_own_asks_candidates_and_refuses_them_and_nothing_of_it_or_of_a_proof_is_left(
    world: World, docker_engine: Engine, tmp_path: Path
) -> None:
    gates = tmp_path / "gates"
    gates.mkdir()
    _configure(world, gates)
    await world.client.reload()
    first = await world.ended(await world.push())
    assert first.status is Status.LIVE, first.reason

    world.change()
    commit = world.repository.push("Another")["after"]
    load = Load(world.daemon.public_url, rest=REST)
    async with load.running(WHO):
        await load.reached(100)
        proven = await world.ended(await world.client.prove(world.app, commit))
        (gates / "refused").write_text(commit)
        refused = await world.ended(await world.client.prove(world.app, commit))
        await load.reached(load.sent + 100)
    assert (proven.status, proven.commit) == (Status.PROVEN, commit)
    (asked,) = [gate for gate in proven.gates if gate.name == "asks"]
    assert asked.figures == {"candidate": commit, "live": first.commit}
    assert (refused.status, refused.reason) == (Status.FAILED, "the asks gate refused it: asked")
    assert "secrets: []" in await world.log(proven)
    assert load.failures == []
    assert {turn for client in load.clients for turn in client.turns} == {first.commit}

    live = (await world.client.app(world.app)).live
    assert live is not None
    assert live.number == first.number
    left = int((gates / "left").read_text())
    async with asyncio.timeout(10):
        while runs(left):  # noqa: ASYNC110 - no event tells of a stranger's end
            await asyncio.sleep(0.05)
    containers = docker_engine.api().get("/containers/json?all=1")
    numbers = [
        one["Labels"]["io.deployd.deploy"] for one in containers if one["Labels"].get("io.deployd.app") == world.app
    ]
    assert numbers == [str(first.number)]


async def test_a_release_that_a_gate_refuses_after_the_switch_is_returned(world: World, tmp_path: Path) -> None:
    gates = tmp_path / "gates"
    gates.mkdir()
    _configure(world, gates, 'when = "after"\n[app.watch]\nfor = "60s"\n')
    await world.client.reload()
    first = await world.ended(await world.push())
    world.change()
    commit = world.repository.push("Another")["after"]
    (gates / "refused").write_text(commit)
    bad = await world.ended(await world.client.deploy(world.app, commit))
    async with asyncio.timeout(60):
        async for _ in world.client.events(world.app):
            bad = await world.client.show(world.app, bad.number)
            if bad.status is Status.REVERTED:
                break
    assert bad.reason == "the asks gate refused it: asked"
    (asked,) = [gate for gate in bad.gates if gate.name == "asks"]
    assert (asked.moment, asked.figures) == ("after", {"candidate": commit, "live": first.commit})
    live = (await world.client.app(world.app)).live
    assert live is not None
    assert live.number == first.number

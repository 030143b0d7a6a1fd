"""Hooks before and after the switch: they are told of it, once, and cannot refuse it. And an own gate that a newer push stops."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployd.config.own_gates import OwnGate as Settings
from deployd.domain import Deploy
from deployd.gates.own import OwnGate
from deployd.ports.target import none_in_flight
from deployd.status import Status
from tests.host.test_child import runs
from tests.works import Works, works


async def _log(daemon: Works, deploy: Deploy) -> str:
    return b"".join([block async for block in daemon.logs.read(deploy.app, deploy.number)]).decode()


async def _followed(daemon: Works, deploy: Deploy) -> Deploy:
    """The live deploy, once all that comes after its switch is done."""
    watch = daemon.events.watch(after=0)
    while True:
        now = await daemon.store.deploy(deploy.app, deploy.number)
        if now is not None and any((step.name, step.status) == ("prune", "done") for step in now.steps):
            return now
        await anext(watch)


def _hooks(file: Path) -> list[dict[str, Any]]:
    say = f'echo "$DEPLOYD_APP/$DEPLOYD_DEPLOY $0 [$DEPLOYD_CANDIDATE_URL]" >> {file}'
    return [
        {"name": "tell", "when": "before", "command": ["sh", "-c", say, "before"]},
        {"name": "broken", "when": "before", "command": "echo no route to the pager >&2; exit 4"},
        {"name": "tell-live", "when": "after", "command": ["sh", "-c", say, "after"]},
        {"name": "away", "when": "after", "command": ["/nowhere/notify"]},
    ]


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Works]:
    async with works(tmp_path, {"hook": _hooks(tmp_path / "told")}) as made:
        yield made


@pytest.mark.slow
async def test_hooks_are_told_before_and_after_the_switch_and_one_that_fails_stops_nothing(
    daemon: Works, tmp_path: Path
) -> None:
    live = await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    live = await _followed(daemon, live)
    assert (tmp_path / "told").read_text() == f"{live.name} before [http://192.0.2.1]\n{live.name} after []\n"
    steps = {step.name: (step.status, step.detail) for step in live.steps if step.name.startswith("hook ")}
    assert steps == {
        "hook tell": ("done", ""),
        "hook broken": ("failed", "exited with code 4: no route to the pager"),
        "hook tell-live": ("done", ""),
        "hook away": (
            "failed",
            "there is no command /nowhere/notify (install it on the machine of deployd, or change its path)",
        ),
    }
    names = [step.name for step in live.steps]
    assert names.index("hook broken") < names.index("cut-over") < names.index("hook tell-live")
    assert live.gates == ()
    assert "no route to the pager" in await _log(daemon, live)


async def test_a_hook_after_the_switch_runs_once_though_a_daemon_that_starts_follows_what_is_live_again(
    daemon: Works, tmp_path: Path
) -> None:
    live = await _followed(daemon, await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE))
    state = await daemon.store.state("iris")
    assert state.live is not None
    assert state.live.number == live.number
    await daemon.aftermath.follow(daemon.config.app[0], state.live, daemon.config.retention, none_in_flight)
    assert (tmp_path / "told").read_text().count("after") == 1


async def test_a_deploy_that_is_only_proven_runs_no_hooks(daemon: Works, tmp_path: Path) -> None:
    proof = await daemon.scheduler.deploy("iris", daemon.commit(), "ada", prove=True)
    await daemon.becomes(proof, Status.PROVEN)
    assert not (tmp_path / "told").exists()


@pytest.mark.slow
async def test_a_gate_that_hangs_is_killed_when_something_newer_comes_and_never_counts_as_passed(
    daemon: Works, tmp_path: Path
) -> None:
    asked = Settings(name="slow", command=f"echo $$ > {tmp_path}/pid; exec sleep 600")
    daemon.gates = [OwnGate(asked)]
    slow = await daemon.deployed(daemon.commit())
    async with asyncio.timeout(20):
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    daemon.gates = []
    newer = await daemon.becomes(await daemon.deployed(daemon.commit()), Status.LIVE)
    old = await daemon.becomes(slow, Status.SUPERSEDED)
    assert (old.superseded_by, old.gates) == (newer.number, ())
    assert [(step.name, step.status) for step in old.steps][-1] == ("slow", "cancelled")
    assert not runs(int((tmp_path / "pid").read_text()))

"""The repository's config.toml says that it works as it is: here it is used.

Only what one machine has but once is replaced: ports, the state directory, the instance and the app's name; and the remote,
which is a repository with the model service of this checkout as it is now.
"""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.engine import Engine
from deployd.bringup.repository import Repository
from deployd.client import Client
from deployd.status import Status
from tests.e2e.world import World

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

MANUAL = Path(__file__).parents[2] / "config.toml"
REPLACED = {
    "#port = 8081 ": "port = {port} ",
    '#state_dir = "/var/lib/deployd" ': 'state_dir = "{state}" ',
    '#instance = "production" ': 'instance = "{instance}" ',
    'name = "iris" ': 'name = "{app}" ',
    'repo = "." ': 'repo = "{remote}" ',
    '#webhook = "github.com/acme/iris" ': 'webhook = "github.com/acme/iris" ',
    "listen = 8000 ": "listen = {public_port} ",
}


def template() -> str:
    """config.toml with the values that a test must choose."""
    text = MANUAL.read_text().replace("{", "{{").replace("}", "}}")
    for as_it_stands, chosen in REPLACED.items():
        assert text.count(f"\n{as_it_stands}") == 1, as_it_stands
        text = text.replace(f"\n{as_it_stands}", f"\n{chosen}")
    return text


@pytest.fixture
async def manual(tmp_path: Path, docker_engine: Engine, training_layers: None) -> AsyncIterator[World]:
    """A daemon with that config and a repository with the model service."""
    repository = Repository(tmp_path)
    repository.create()
    repository.add_model_service()
    daemon = DemoDaemon.prepare(tmp_path, repository.remote, template(), app=f"iris-{secrets.token_hex(3)}")
    daemon.environment = {"DEPLOYD_WEBHOOK_SECRET": daemon.secret}
    try:
        async with daemon.running(), Client(daemon.api) as client:
            yield World(repository, daemon, client)
    finally:
        print(daemon.log.read_text() if daemon.log.exists() else "")
        daemon.remove_everything(docker_engine.api(timeout=120))


async def test_the_model_service_of_this_repository_goes_live_through_its_golden_gate(manual: World) -> None:
    deploy = await manual.ended(await manual.deliver("Serve the model"), within=600)

    assert deploy.status is Status.LIVE, f"{deploy.reason}\n{deploy.hint}"
    assert [(gate.name, gate.verdict) for gate in deploy.gates] == [("ready", "passed"), ("golden", "passed")]
    async with httpx.AsyncClient(
        base_url=manual.daemon.public_url, trust_env=False, timeout=10, verify=False
    ) as service:
        assert (await service.get("/version")).json()["commit"] == deploy.commit
        answer = (await service.post("/predict", json={"instances": [[5.8, 4.0, 1.2, 0.2]]})).json()
    assert answer["predictions"][0]["label"] == "setosa"

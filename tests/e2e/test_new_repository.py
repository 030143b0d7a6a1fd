"""A repository that `deployd new` made: its first push is deployed by its own config.toml, and so is the next one.

Only what one machine has but once is chosen here: ports, the state directory and the instance.
"""

import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployd.bringup.daemon import DemoDaemon
from deployd.bringup.engine import Engine
from deployd.bringup.repository import Repository
from deployd.client import Client
from deployd.starter.repository import Starter, make
from deployd.status import Status
from tests.e2e.world import World

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(900)]

TEMPLATES = Path(__file__).parents[2] / "deployd" / "starter" / "templates"
SERVER = """\
[server]
port = {port}
state_dir = "{state}"
instance = "{instance}"
"""


@pytest.fixture
async def made(tmp_path: Path, docker_engine: Engine, base_images: object) -> AsyncIterator[World]:
    """A daemon with the config of a new repository, of which nothing is pushed yet."""
    repository = Repository(tmp_path)
    repository.create()
    starter = Starter(f"churn-{secrets.token_hex(3)}", "tabular", f"file://{repository.remote}")
    new = make(starter, tmp_path)
    shutil.rmtree(new / ".git")
    shutil.copytree(new, repository.work, dirs_exist_ok=True)
    daemon = DemoDaemon.prepare(tmp_path, repository.remote, _config(new / "config.toml"), app=starter.name)
    daemon.environment = {"DEPLOYD_WEBHOOK_SECRET": daemon.secret}
    try:
        async with daemon.running(), Client(daemon.api) as client:
            yield World(repository, daemon, client)
    finally:
        print(daemon.log.read_text() if daemon.log.exists() else "")
        daemon.remove_everything(docker_engine.api(timeout=120))


def _config(file: Path) -> str:
    text = file.read_text().replace("{", "{{").replace("}", "}}")
    for as_it_stands, chosen in {
        "listen = 8000": "listen = {public_port}",
        'branch = "main"': 'branch = "main"\nwebhook = "github.com/acme/iris"',
    }.items():
        assert text.count(f"\n{as_it_stands}") == 1, as_it_stands
        text = text.replace(f"\n{as_it_stands}", f"\n{chosen}")
    return SERVER + text


async def test_the_first_push_of_a_new_repository_goes_live_and_so_does_another_model(made: World) -> None:
    first = await made.ended(await made.deliver("First model"), within=600)

    assert first.status is Status.LIVE, f"{first.reason}\n{first.hint}"
    assert [(gate.name, gate.verdict) for gate in first.gates] == [("ready", "passed"), ("golden", "passed")]
    async with httpx.AsyncClient(base_url=made.daemon.public_url, trust_env=False, timeout=30, verify=False) as service:
        version = (await service.get("/version")).json()
        assert (version["commit"], version["name"]) == (first.commit, made.app)
        row = {"age": 33, "monthly_fee": None, "calls": 4, "plan": "basic", "country": "AT"}
        answer = (await service.post("/predict", json={"instances": [row]})).json()
        assert answer["predictions"][0]["label"] in {"yes", "no"}

        made.repository.write("model.py", (TEMPLATES / "iris" / "model.py").read_text())
        second = await made.ended(await made.deliver("Another model"), within=300)
        assert second.status is Status.LIVE, f"{second.reason}\n{second.hint}"
        answer = (await service.post("/predict", json={"instances": [[5.8, 4.0, 1.2, 0.2]]})).json()
        assert answer["predictions"][0]["label"] == "setosa"

        _take_a_logged_model(made.repository)
        third = await made.ended(await made.deliver("A model that MLflow logged"), within=300)
        assert third.status is Status.LIVE, f"{third.reason}\n{third.hint}"
        answer = (await service.post("/predict", json={"instances": [[5.8, 4.0, 1.2, 0.2]]})).json()
        assert answer["predictions"][0]["label"] == "setosa"
        assert (await service.get("/version")).json()["name"] == "mymodel"


def _take_a_logged_model(repository: Repository) -> None:
    """The repository as one that was made with `--from mlflow`, with the sample where deployd puts a registered version."""
    for file in ("Dockerfile", "sample.py"):
        repository.write(file, (TEMPLATES / "mlflow" / file).read_text())
    subprocess.run([sys.executable, "sample.py"], cwd=repository.work, check=True)

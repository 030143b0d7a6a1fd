"""The image that the Dockerfile makes: small, unprivileged, with its commit, and trained again only when the code changes.

DEPLOYD_TEST_PYTHON names another base; `make test-pythons` runs this on each that tests/testbed/pythons.py makes.
"""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from deployd.bringup import engine as engines
from deployd.bringup.images import PYTHON
from tests.model_service.test_mlflow import put, tree

ROOT = Path(__file__).parents[2]
BASE = os.environ.get("DEPLOYD_TEST_PYTHON", PYTHON)
pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


class Docker:
    """The docker command on one engine, and the names of the image that it builds and of the stage that trains."""

    def __init__(self, url: str) -> None:
        self.image = f"model-service-test:{uuid4().hex[:8]}"
        self.training = f"{self.image}-training"
        self._environment = os.environ | {"DOCKER_HOST": url, "DOCKER_BUILDKIT": "0"}
        self._built: list[str] = []

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            ["docker", *arguments], cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()

    def build(self, commit: str) -> str:
        """Builds for a commit and returns the output."""
        if not self._built:
            self._build(self.training, "--target=build")
        return self._build(self.image, f"--build-arg=COMMIT={commit}")

    def _build(self, name: str, *arguments: str) -> str:
        """Builds with only the layers of its own builds as cache. Of equal layers of several builds the engine would take the
        newest, which may be of another build that has come no further yet."""
        caches = [f"--cache-from={built}" for built in self._built]
        output = self("build", "-t", name, *caches, f"--build-arg=PYTHON={BASE}", *arguments, ".")
        self._built.append(name)
        return output


@pytest.fixture(scope="module")
def docker(base_images: engines.Engine, training_layers: None) -> Iterator[Docker]:
    docker = Docker(base_images.url)
    docker.build("a" * 40)
    yield docker
    docker("image", "rm", docker.image, docker.training)


def wait_for_version(url: str) -> dict[str, str]:
    """The answer of /version, as soon as there is one."""
    deadline = time.monotonic() + 60
    while True:
        try:
            version: dict[str, str] = httpx.get(f"{url}/version", timeout=5).json()
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return version


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 120
    while httpx.get(f"{url}/v2/health/ready", timeout=5).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_image_serves_unprivileged_on_a_read_only_root_and_exits_on_sigterm(docker: Docker) -> None:
    confined = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--memory=128m", "--pids-limit=64")
    container = docker("run", "-d", *confined, docker.image)
    try:
        address = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
        url = f"http://{address}:5000"
        assert wait_for_version(url)["commit"] == "a" * 40
        golden = json.loads(docker("exec", container, "cat", "golden.json"))
        for case in golden["cases"]:
            answer = httpx.post(url + golden["url"], json=case["request"]).json()
            assert answer["predictions"] == case["response"]["predictions"]
        assert docker("exec", container, "id", "-u") == "10001"
        docker("stop", container)
        assert docker("inspect", "-f", "{{.State.ExitCode}}", container) == "0"
    finally:
        docker("rm", "-f", container)


def test_a_new_commit_with_the_same_code_does_not_train_again(docker: Docker) -> None:
    before = docker("inspect", "-f", "{{json .RootFS.Layers}}", docker.image)
    output = docker.build("b" * 40)
    assert "Running in" not in output.partition("ARG COMMIT")[0]
    assert docker("inspect", "-f", "{{json .RootFS.Layers}}", docker.image) == before
    assert "MODEL_COMMIT=" + "b" * 40 in docker("inspect", "-f", "{{json .Config.Env}}", docker.image)
    assert (
        docker("inspect", "-f", '{{index .Config.Labels "org.opencontainers.image.revision"}}', docker.image)
        == "b" * 40
    )


def test_the_image_is_little_larger_than_its_base_and_has_no_training_libraries(docker: Docker) -> None:
    base = int(docker("inspect", "-f", "{{.Size}}", BASE))
    assert int(docker("inspect", "-f", "{{.Size}}", docker.image)) - base < 60e6
    packages = docker("run", "--rm", docker.image, "sh", "-c", "ls /opt/serving/lib/python3*/site-packages").split()
    assert "fastapi" in packages
    assert not {"numpy", "sklearn", "pip"} & set(packages)


def test_a_task_of_another_folder_with_data_and_requirements_is_built_by_arguments(
    docker: Docker, tmp_path: Path
) -> None:
    """The example of docs/models.md, with a pipeline of typed columns and a function of its own."""
    _copy_what_is_built(tmp_path)
    shutil.copytree(Path(__file__).with_name("churn"), tmp_path / "churn")
    image = f"{docker.image}-churn"
    given = {
        "PYTHON": BASE,
        "CODE": "churn",
        "TASK": "churn.task",
        "REQUIREMENTS": "churn/requirements.txt",
        "TRUST": "churn.task.log",
        "COMMIT": "c" * 40,
    }
    docker("build", "-t", image, *(f"--build-arg={name}={value}" for name, value in given.items()), str(tmp_path))
    container = docker("run", "-d", "--read-only", image)
    try:
        address = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", container)
        url = f"http://{address}:5000"
        assert wait_for_version(url)["commit"] == "c" * 40
        wait_until_ready(url)
        answer = httpx.post(f"{url}/predict", json={"instances": [{"age": 30, "plan": "basic"}]})
        assert answer.json()["predictions"][0]["label"] in {"yes", "no"}
        assert docker("exec", container, "python", "-c", "import toolz; print(toolz.__version__)") == "1.0.0"
    finally:
        docker("rm", "-f", container)
        docker("image", "rm", image)


def test_a_model_that_mlflow_logged_is_built_by_the_name_of_its_directory(docker: Docker, tmp_path: Path) -> None:
    """With the slash at its end that a shell completes it with."""
    _copy_what_is_built(tmp_path)
    (tmp_path / "downloaded").mkdir()
    put(tmp_path / "downloaded" / "flowers", tree())
    image = f"{docker.image}-logged"
    docker("build", "-t", image, f"--build-arg=PYTHON={BASE}", "--build-arg=CODE=downloaded/flowers/", str(tmp_path))
    try:
        manifest = json.loads(docker("run", "--rm", image, "cat", "manifest.json"))
        assert (manifest["name"], manifest["format"]) == ("flowers", "trees")
    finally:
        docker("image", "rm", image)


def _copy_what_is_built(context: Path) -> None:
    for name in ("Dockerfile", ".dockerignore", "model_service"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, context / name)

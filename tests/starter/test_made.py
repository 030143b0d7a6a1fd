"""New repositories on a machine with nothing but Python: `make test` and `make try` in an environment that their lock makes."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from deployd.starter import wheel
from deployd.starter.repository import TEMPLATES, Starter, Template, make
from tests.testbed import mlflow_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("new-repositories")]

ROWS = {
    "iris": ([5.8, 4.0, 1.2, 0.2], {"setosa"}),
    "tabular": ({"age": None, "monthly_fee": 30.5, "calls": 2, "plan": "plus", "country": "DE"}, {"yes", "no"}),
    "text": (["The bill shows the wrong amount"], {"payment"}),
    "mlflow": ([5.8, 4.0, 1.2, 0.2], {"setosa"}),
}
# Nothing of the project's own environment, nor of the make that runs the tests.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "MAKE"))
}


class Made:
    """The repositories, one for each template, and the environment that they share here."""

    def __init__(self, directory: Path) -> None:
        self.repositories: dict[str, Path] = {
            name: make(Starter(f"a-{name}", name), directory) for name in _templates()
        }
        self._given = [f"VENV={directory / 'venv'}", f"PYTHON={sys.executable}", "PORT=0"]
        # In the place of pip, which takes two minutes; that pip installs this lock is proven where the image is built.
        subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(directory / "venv")]
        first = self.repositories["iris"]
        subprocess.run([*install, "--require-hashes", "-r", "requirements.lock"], cwd=first, check=True)

    def command(self, goal: str) -> list[str]:
        return ["make", "--no-print-directory", goal, *self._given]


def _templates() -> Iterator[Template]:
    yield "iris"
    yield "tabular"
    yield "text"
    yield "mlflow"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, real_wheel: Path) -> Made:
    with pytest.MonkeyPatch.context() as installed:  # with the wheel that came with it, as where there is no checkout
        installed.setattr(wheel, "_SOURCES", real_wheel.parent / "none")
        installed.setattr(wheel, "_HERE", real_wheel.parent)
        return Made(tmp_path_factory.mktemp("made"))


@contextmanager
def tried(made: Made, template: str) -> Iterator[str]:
    """`make try`, until it says where the page is."""
    with subprocess.Popen(
        made.command("try"),
        cwd=made.repositories[template],
        env=ENVIRONMENT | {"PIP_NO_COMPILE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if (found := re.match(r"Try it: (http\S+)", line)) is not None:
                yield found[1]
                os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C at a terminal
                break
        else:
            raise AssertionError("".join(said))
        said += process.stdout
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize("template", TEMPLATES)
def test_make_try_makes_a_model_and_serves_it_and_the_repositorys_own_test_passes(made: Made, template: str) -> None:
    row, labels = ROWS[template]
    with tried(made, template) as url, httpx.Client(base_url=url, trust_env=False, timeout=30, verify=False) as client:
        assert f"a-{template}" in client.get("/version").text
        assert "<html" in client.get("/").text
        assert client.get("/static/swagger-ui.css").status_code == client.get("/docs").status_code == 200
        answer = client.post("/predict", json={"instances": [row]}).json()
        assert answer["predictions"][0]["label"] in labels
    assert "Ran 1 test" in said(made.command("test"), made.repositories[template])


def test_mlflow_itself_loads_the_sample_that_stands_for_its_models(made: Made) -> None:
    said(made.command("model/MLmodel"), made.repositories["mlflow"])
    loads = """
import mlflow.sklearn
model, described = mlflow.sklearn.load_model("model"), mlflow.models.Model.load("model")
print(model.predict(described.load_input_example("model"))[0], described.signature.inputs.input_names())
"""
    told = said([str(mlflow_server.environment()), "-c", loads], made.repositories["mlflow"])
    assert "setosa ['sepal_length', 'sepal_width', 'petal_length', 'petal_width']" in told


def said(command: Sequence[str], directory: Path) -> str:
    """What a command that succeeds prints."""
    done = subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr

"""Wheels for new repositories: the real one, made once, and one that is made at once."""

import zipfile
from pathlib import Path

import pytest

from deployd.starter import repository, wheel


@pytest.fixture(scope="session")
def real_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel.put_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def small_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """New repositories get a wheel that holds locks and nothing else."""

    def put(directory: Path) -> Path:
        made = directory / "model_service-9.8.7-py3-none-any.whl"
        with zipfile.ZipFile(made, "w") as content:
            content.writestr("model_service/serving.lock", _SERVING)
            content.writestr("model_service/training.lock", _TRAINING)
        return made

    monkeypatch.setattr(repository, "put_wheel", put)


_SERVING = """\
fastapi==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via -r serving.in
pydantic==2.0 \\
    --hash=sha256:cc
    # via fastapi
"""
_TRAINING = """\
numpy==3.0 ; python_version >= '3.11' \\
    --hash=sha256:dd
    # via -r training.in
pydantic==2.0 \\
    --hash=sha256:cc
    # via -r training.in
"""

"""`python -m model_service.trial`: the port, what the service may trust, and a training that fails.

What it serves is tested with the repositories that `deployd new` makes.
"""

import socket
from pathlib import Path

import pytest
from sklearn.pipeline import make_pipeline
from xgboost import XGBClassifier

from model_service import train, trial
from model_service.fitting import fit
from model_service.quality import measure
from tests.model_service import slow
from tests.model_service.kinds import Clip, flowers


def test_a_port_that_is_taken_is_replaced_by_a_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        assert trial._free_port(port) not in {port, 0}
    assert trial._free_port(port) == port


def test_a_training_that_fails_ends_it_and_serves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert trial.main(["--task", "no_such_module", "--out", str(tmp_path / "model")]) == 1
    said = capsys.readouterr()
    assert "error: no task module no_such_module" in said.err
    assert "Try it" not in said.out
    assert not (tmp_path / "model").exists()


def test_a_logged_model_that_cannot_be_served_ends_it_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert trial.main(["--mlflow", str(tmp_path), "--name", "iris", "--out", str(tmp_path / "served")]) == 1
    assert "hint: name the directory that has MLmodel in it" in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


def test_a_task_and_a_logged_model_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        trial.main(["--task", "model", "--mlflow", "model"])
    assert "not allowed with argument --task" in capsys.readouterr().err


def test_a_model_that_was_just_trained_here_is_trusted(iris_dir: Path, tmp_path: Path) -> None:
    assert trial._trust(iris_dir) == []
    fitted = fit(slow.task(0), seed=0)
    train.write(fitted, tmp_path / "skops", form="skops", metrics=measure(fitted))
    assert trial._trust(tmp_path / "skops") == list(slow.TRUST)
    written = train.write(fitted, tmp_path / "pickle", form="pickle", metrics=measure(fitted))
    assert trial._trust(tmp_path / "pickle") == ["--allow-pickle", written.files["model.pkl"]]


@pytest.mark.slow
def test_the_steps_before_a_booster_are_trusted_too(tmp_path: Path) -> None:
    task = flowers(make_pipeline(Clip(), XGBClassifier(n_estimators=2)))
    fitted = fit(task, seed=0)
    train.write(fitted, tmp_path, form="auto", metrics=measure(fitted))
    assert trial._trust(tmp_path) == ["--trust", f"{Clip.__module__}.{Clip.__qualname__}"]

import pytest

from deployd.bringup import engine as engines
from tests.testbed import browser, cluster, kubernetes_binaries, mlflow_server, plan, roots


def told(monkeypatch: pytest.MonkeyPatch, *, can_install: bool) -> list[str]:
    """What is planned where neither engine nor cluster is."""
    monkeypatch.delenv("DEPLOYD_TEST_KUBECONFIG", raising=False)
    monkeypatch.setattr(engines, "find", lambda: None)
    monkeypatch.setattr(plan, "can_install", lambda: can_install)
    monkeypatch.setattr(kubernetes_binaries, "built", lambda: None)
    monkeypatch.setattr(mlflow_server, "made", lambda: False)
    monkeypatch.setattr(roots, "made", lambda _: False)
    monkeypatch.setattr(browser, "found", lambda: None)
    monkeypatch.setattr(cluster, "runs", lambda: False)
    return [str(task) for task in plan.tasks()]


def test_a_bare_machine_is_told_all_that_will_be_installed_and_built(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, images, systemd, mlflow, sid, chromium, build, start = told(monkeypatch, can_install=True)
    assert engine == "install docker.io by apt and start the Docker Engine: about 20 s"
    assert images.endswith("about 2 min")
    assert systemd.startswith("make a Debian with systemd as process 1")
    assert mlflow == "make a Python environment with MLflow: about 1 min"
    assert sid == "make a Debian sid with today's Docker Engine, once a machine: about 2 min"
    assert chromium == "install chromium by apt: about 30 s"
    assert build == "build Kubernetes 1.20.2 from Debian's source, once a machine: about 6 min"
    assert start == "start Kubernetes: about 20 s"


def test_without_the_right_to_install_the_skipped_tests_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (engine,) = told(monkeypatch, can_install=False)
    assert "its tests are skipped" in engine

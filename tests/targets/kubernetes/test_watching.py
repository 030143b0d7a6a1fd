"""How a pod lives, read from its JSON."""

from typing import Any

import pytest

from deployd.targets.kubernetes.watching import life


def _pod(state: dict[str, Any], last: dict[str, Any] | None = None, restarts: int = 0) -> dict[str, Any]:
    status = {"name": "iris", "restartCount": restarts, "state": state, "lastState": last or {}}
    beside = {"name": "proxy", "restartCount": 0, "state": {"running": {}}, "lastState": {}}
    limited = {"name": "iris", "resources": {"limits": {"memory": "40Mi"}}}
    return {
        "metadata": {"name": "iris-1", "uid": "p"},
        "spec": {"containers": [{"name": "proxy"}, limited]},
        "status": {"containerStatuses": [beside, status]},
    }


ERROR = {"terminated": {"exitCode": 3, "reason": "Error"}}
OOM = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
KILLED = {"terminated": {"exitCode": 137, "reason": "Error"}}
WAITS = {"waiting": {"reason": "CrashLoopBackOff"}}


@pytest.mark.parametrize(
    ("pod", "ended", "before"),
    [
        (_pod({"running": {}}), "", ""),
        (_pod({"waiting": {"reason": "ContainerCreating"}}), "", ""),
        (_pod(ERROR), "exited with code 3", "exited with code 3"),
        (_pod(WAITS, OOM, 1), "was killed for lack of memory", "was killed for lack of memory"),
        (_pod({"running": {}}, OOM, 1), "", "was killed for lack of memory"),
        (_pod({"running": {}}, KILLED, 1), "", "was killed (exited with code 137; its memory limit is 40Mi)"),
    ],
)
def test_how_the_container_of_the_app_ended_is_told(pod: dict[str, Any], ended: str, before: str) -> None:
    found = life(pod, "iris")
    assert (found.name, found.ended, found.before) == ("pod iris-1", ended, before)


def test_a_pod_that_starts_again_is_known_by_its_restarts() -> None:
    assert life(_pod({"running": {}}, OOM, 2), "iris").starts != life(_pod({"running": {}}, OOM, 1), "iris").starts


def test_a_pod_that_has_no_status_yet_has_not_ended() -> None:
    assert life({"metadata": {"name": "iris-1", "uid": "p"}}, "iris").ended == ""


def test_a_container_that_was_killed_without_a_limit_only_has_its_exit_code() -> None:
    pod = _pod(KILLED)
    del pod["spec"]["containers"][1]["resources"]
    assert life(pod, "iris").ended == "exited with code 137"

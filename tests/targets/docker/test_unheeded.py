from typing import Any

import pytest

from deployd.targets.docker.unheeded import unheeded
from tests.targets.docker.world import NAME, an_app


@pytest.mark.parametrize(
    ("docker", "fault"),
    [
        ({"cpus": 2.5}, "cpus: this engine has 2 CPUs"),
        ({"runtime": "runsc"}, "runtime: this engine has no runtime runsc for one container alone"),
        ({"log": {"driver": "json-file", "options": {"size": "1"}}}, "log.options: json-file has no option size"),
    ],
)
def test_an_option_that_podman_ignores_is_a_fault_of_the_config(docker: dict[str, Any], fault: str) -> None:
    found = unheeded(an_app(1, **docker), 2)
    assert found is not None
    assert found.message.startswith(f"app.{NAME}.docker.{fault}")
    assert found.hint


def test_options_that_podman_applies_are_no_fault() -> None:
    log = {"driver": "json-file", "options": {"max-size": "1m", "max-file": "2"}}
    assert unheeded(an_app(1, cpus=2, memory="1GiB", log=log), 2) is None
    assert unheeded(an_app(1), 2) is None

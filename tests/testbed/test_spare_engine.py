from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import needed
from tests.testbed.spare_engine import spare_engine

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def _links() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


@pytest.mark.usefixtures("docker_engine")
def test_a_killed_spare_engine_leaves_no_bridge(tmp_path: Path) -> None:
    with ExitStack() as stack:
        spare = needed(lambda: stack.enter_context(spare_engine(tmp_path, live_restore=False)))
        made = spare.api().post("/networks/create", {"Name": "deployd-spare", "CheckDuplicate": True})
        links = {spare.bridge, f"br-{made['Id'][:12]}"}
        assert links <= _links()
        spare.kill()
    assert not links & _links()

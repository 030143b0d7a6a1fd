"""The contracts and a push to live, on an engine as near to Docker 29 as Debian's packages come. Beside the machine's own.

All other features and engines are those of `make test-hosts`.
"""

from collections.abc import Iterator

import pytest

from deployd.bringup.progress import Progress
from tests.conftest import needed
from tests.hosts.columns import TODAYS, Host, released
from tests.testbed import engines

# Making a Debian sid takes minutes, once a machine.
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1_200)]

_PROMISES = (
    "tests/contract/test_builders.py",
    "tests/contract/test_images.py",
    "tests/contract/test_targets.py",
    "tests/targets/docker/test_options.py",
    "tests/e2e/test_push_to_live.py",
)
# Its own builder is BuildKit; the classic one, which it calls old, has its turn in `make test-hosts`.
_CHOSEN = "buildkit or test_targets or options_reach or rollback"


@pytest.fixture
def host(base_images: object) -> Iterator[Host]:
    """The engine, which is ended afterwards unless it ran before."""
    ran = engines.runs(TODAYS.name)
    try:
        yield needed(lambda: released(TODAYS, Progress()))
    finally:
        if not ran:
            engines.stop(TODAYS.name)


def test_the_contracts_and_a_push_to_live_hold_with_the_containerd_store_and_without_old_apis(host: Host) -> None:
    assert host.pytest([*_PROMISES, "-m", "engine", "-k", _CHOSEN]) == 0

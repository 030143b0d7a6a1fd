"""What the tests of the order have in common."""

from types import SimpleNamespace

import pytest

from tests.order.model import clock


@pytest.fixture
def own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes and looks read the clock of the loop that runs."""
    for module in ("deployd.lane", "deployd.order.look"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=clock.now))

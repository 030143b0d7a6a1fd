import pytest

from deployd.gateway.backend import backend
from deployd.gateway.share import map_file, no_share, share
from deployd.gateway.slots import Endpoint, Route, Slot, Use, beside, commands

A, B = (Endpoint(f"172.20.0.{n}", 5000) for n in (2, 3))
CANARY = Route("iris", 8000, slots=(Slot(A, Use.READY), Slot(), Slot(), Slot()), canary=True)


def test_a_share_says_the_slot_the_thousandths_and_until_when() -> None:
    assert share(CANARY, 1, 250, 1_700_000_000.9) == "set map /etc/deployd/canary.map iris 170000000520250"


def test_haproxy_starts_without_any_share() -> None:
    wine = Route("wine", 8001)
    assert map_file([CANARY, wine]) == "iris 0\n"
    assert no_share(CANARY) == ["set map /etc/deployd/canary.map iris 0"]
    assert no_share(wine) == []


def test_the_slot_with_a_share_drains_and_the_serving_one_stays_ready() -> None:
    after = beside(CANARY, B, {})
    assert after.slots[:2] == (Slot(A, Use.READY), Slot(B, Use.DRAIN))
    assert beside(after, B, {}) == after
    assert [line.split(" ", 3)[3] for line in commands("b", CANARY.slots, after.slots)] == [
        "addr 172.20.0.3 port 5000",
        "state drain",
    ]


@pytest.mark.parametrize(("sticky", "cookies"), [(False, 0), (True, 1)])
def test_only_a_sticky_canary_sets_a_cookie(sticky: bool, cookies: int) -> None:
    text = backend(Route("iris", 8000, path_prefix="/v1/", canary=True, sticky=sticky))
    assert text.count("add-header Set-Cookie") == cookies
    assert text.count("Path=/v1; HttpOnly") == cookies


def test_an_app_without_a_canary_has_no_rules_for_it() -> None:
    assert [line for line in backend(Route("iris", 8000)).splitlines() if "txn.loan" in line] == []

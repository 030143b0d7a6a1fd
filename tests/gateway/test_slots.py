from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.gateway.slots import (
    SLOTS,
    Endpoint,
    Route,
    Slot,
    Use,
    all_draining,
    as_reported,
    commands,
    freed,
    switched,
)

A, B, C = (Endpoint(f"172.20.0.{n}", 5000) for n in (2, 3, 4))


def a_route(*slots: Slot) -> Route:
    return Route("iris", 8000, slots=slots + (Slot(),) * (SLOTS - len(slots)))


def after_each(route: Route, lines: list[str]) -> list[Endpoint | None]:
    """Where HAProxy sends traffic after each command, by its rule: the first ready server, in order."""
    slots, seen = list(route.slots), []
    for line in lines:
        _, _, server, what, *rest = line.split()
        index = int(server.rpartition("s")[2]) - 1
        if what == "addr":
            assert slots[index].use is Use.FREE
            slots[index] = Slot(Endpoint(rest[0], int(rest[2])), slots[index].use)
        else:
            slots[index] = Slot(slots[index].endpoint, Use(rest[0]))
        seen.append(Route("iris", slots=tuple(slots)).serving)
    return seen


def test_the_first_release_takes_the_first_slot() -> None:
    assert switched(a_route(), A, {}).slots[0] == Slot(A, Use.READY)


def test_a_switch_makes_the_new_one_ready_and_the_old_one_drain() -> None:
    after = switched(a_route(Slot(A, Use.READY)), B, {})
    assert after.serving == B
    assert after.slots[:2] == (Slot(A, Use.DRAIN), Slot(B, Use.READY))


def test_a_switch_back_uses_the_slot_that_still_drains() -> None:
    after = switched(a_route(Slot(A, Use.DRAIN), Slot(B, Use.READY)), A, {})
    assert after.slots[:2] == (Slot(A, Use.READY), Slot(B, Use.DRAIN))


def test_when_no_slot_is_free_the_draining_one_with_the_fewest_sessions_is_used() -> None:
    busy = [Slot(Endpoint("172.20.0.9", n), Use.DRAIN) for n in range(3)]
    sessions = {Endpoint("172.20.0.9", n): count for n, count in enumerate((5, 1, 7))}
    after = switched(a_route(*busy, Slot(A, Use.READY)), B, sessions)
    assert after.slots[1] == Slot(B, Use.READY)


@given(st.lists(st.sampled_from("ABCDEFG"), min_size=1, max_size=12))
def test_traffic_moves_at_exactly_one_command_and_one_slot_is_always_ready(names: list[str]) -> None:
    route = a_route()
    for name in names:
        endpoint, before = Endpoint(f"10.0.0.{ord(name)}", 80), route.serving
        after = switched(route, endpoint, {})
        seen = [before, *after_each(route, commands(route.backend, route.slots, after.slots))]
        moves = [(old, new) for old, new in pairwise(seen) if old != new]
        assert moves == ([(before, endpoint)] if before != endpoint else [])
        route = after


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_a_switch_back_always_has_a_ready_slot(order: tuple[int, ...]) -> None:
    slots = [Slot()] * 3
    for place, slot in zip(order, (Slot(A, Use.READY), Slot(B, Use.DRAIN), Slot(C, Use.DRAIN)), strict=True):
        slots[place] = slot
    before = a_route(*slots)
    after = switched(before, B, {})
    there = after_each(before, commands("b", before.slots, after.slots))
    back = after_each(after, commands("b", after.slots, before.slots))
    assert (there[-1], back[-1]) == (B, A)
    assert {*there, *back} == {A, B}


def test_all_draining_leaves_no_slot_ready() -> None:
    assert all_draining(a_route(Slot(A, Use.READY))).serving is None


def test_a_freed_slot_is_free() -> None:
    assert freed(a_route(Slot(A, Use.DRAIN), Slot(B, Use.READY)), A).slots[:2] == (Slot(), Slot(B, Use.READY))


def test_a_slot_that_an_old_worker_drains_stays_draining() -> None:
    mine = a_route(Slot(A, Use.DRAIN), Slot(B, Use.READY))
    actual = (Slot(), Slot(C, Use.READY), Slot(), Slot())
    assert as_reported(mine, actual).slots[:2] == (Slot(A, Use.DRAIN), Slot(C, Use.READY))


def test_a_route_can_be_written_as_json_and_read_back() -> None:
    route = Route("iris", None, ("a.example.com",), "/iris", a_route(Slot(A, Use.READY)).slots)
    assert Route.from_json(route.to_json()) == route

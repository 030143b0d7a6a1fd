"""The sampler: what it makes of the gateway's counters, over restarts of both, and while nobody can be asked."""

import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deployd.config.app import App
from deployd.config.file import parse
from deployd.config.running import Running
from deployd.errors import Unavailable
from deployd.events import Events
from deployd.judge.traffic import Counters, Place
from deployd.sampler import Sampler
from deployd.samples import FINE, Counted, Sample
from deployd.store.database import Database
from deployd.store.store import Store
from tests.desk import settings

A, B = "172.20.0.2:5000", "172.20.0.3:5000"
NOW = FINE.stretch(time.time()) + 0.5


class FakeGateway:
    """Counts what it is told; the release at each address is known by its number."""

    def __init__(self) -> None:
        self.counters: dict[Place, Counters] = {}
        self.deploys = {A: 1, B: 2}
        self.trouble: Unavailable | None = None

    def has_counted(
        self, requests: int, errors: int = 0, *, slot: str = "s1", address: str = A, took: int = 2000
    ) -> None:
        counters = Counters(requests, requests, errors, latencies={took: requests})
        self.counters[Place(7, slot, address)] = counters
        whole = sum(each.attempts for place, each in self.counters.items() if place.address)
        self.counters[Place(7, "BACKEND", "")] = Counters(attempts=whole)

    async def counted(self, apps: Sequence[App]) -> Mapping[str, Counted]:
        if self.trouble is not None:
            raise self.trouble
        return {app.name: Counted(dict(self.counters), self.deploys) for app in apps if self.counters}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Database(tmp_path / "db") as database:
        yield Store(database, Events())


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(f"deployd_{name}_total", {"app": "iris"}) or 0.0


def sampler_of(store: Store, gateway: FakeGateway) -> Sampler:
    return Sampler(Running(parse(settings("iris"))), store, gateway.counted)


async def test_each_release_gets_what_came_to_its_address(store: Store) -> None:
    gateway = FakeGateway()
    sampler = sampler_of(store, gateway)
    gateway.has_counted(100)
    await sampler.sample(NOW)
    gateway.has_counted(130, 2)
    gateway.has_counted(10, slot="s2", address=B, took=900)
    await sampler.sample(NOW + 10)
    await sampler.write()
    samples, seen = await store.traffic("iris", FINE, NOW)
    at = FINE.stretch(NOW)
    assert samples == [Sample("iris", 1, at, 30, 2, 0, {2000: 30}), Sample("iris", 2, at, 10, 0, 0, {800: 10})]
    assert seen == {at: 10.0}


async def test_counts_from_before_the_start_are_left_out(store: Store) -> None:
    gateway = FakeGateway()
    gateway.has_counted(1000)
    sampler = sampler_of(store, gateway)
    await sampler.sample(NOW)
    await sampler.write()
    assert await store.traffic("iris", FINE, 0) == ([], {})
    assert sampler.rates("iris") is None


async def test_an_unknown_address_is_told_as_no_release(store: Store) -> None:
    gateway = FakeGateway()
    gateway.has_counted(1, address="10.0.0.9:1")
    sampler = sampler_of(store, gateway)
    await sampler.sample(NOW)
    gateway.has_counted(5, address="10.0.0.9:1")
    await sampler.sample(NOW + 10)
    await sampler.write()
    samples, _ = await store.traffic("iris", FINE, 0)
    assert [(sample.number, sample.requests) for sample in samples] == [(0, 4)]


async def test_the_last_requests_to_a_release_count_for_it_though_its_container_is_gone(store: Store) -> None:
    gateway = FakeGateway()
    gateway.has_counted(100)
    sampler = sampler_of(store, gateway)
    await sampler.sample(NOW)
    gateway.has_counted(107)
    gateway.has_counted(20, slot="s2", address=B)
    gateway.deploys = {B: 2}
    await sampler.sample(NOW + 10)
    await sampler.write()
    samples, _ = await store.traffic("iris", FINE, 0)
    assert [(sample.number, sample.requests) for sample in samples] == [(1, 7), (2, 20)]


async def test_the_rates_are_those_of_the_last_minute(store: Store) -> None:
    gateway = FakeGateway()
    sampler = sampler_of(store, gateway)
    total = 0
    for tick in range(12):
        total += 600 if tick < 6 else 60
        gateway.has_counted(total, total // 10)
        await sampler.sample(NOW + 10 * tick)
    rates = sampler.rates("iris")
    assert rates is not None
    assert (rates.seconds, rates.requests_per_second, rates.error_rate) == (60.0, 6.0, 0.1)
    assert rates.p95_ms == 2.0


async def test_while_the_gateway_does_not_answer_nothing_is_said_and_it_is_logged_once(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    gateway = FakeGateway()
    sampler = sampler_of(store, gateway)
    for tick in range(3):
        gateway.has_counted(10 * tick)
        await sampler.sample(NOW + 10 * tick)
    gateway.trouble = Unavailable("the gateway does not answer")
    with caplog.at_level(logging.WARNING):
        for tick in range(3, 6):
            await sampler.sample(NOW + 10 * tick)
    assert sampler.rates("iris") is None
    assert [record.getMessage() for record in caplog.records] == [
        "The traffic cannot be counted: the gateway does not answer"
    ]


async def test_requests_from_while_the_gateway_did_not_answer_are_counted_with_their_time(store: Store) -> None:
    gateway = FakeGateway()
    sampler = sampler_of(store, gateway)
    gateway.has_counted(0)
    await sampler.sample(NOW)
    gateway.trouble = Unavailable("away")
    await sampler.sample(NOW + 10)
    gateway.trouble = None
    gateway.has_counted(90)
    await sampler.sample(NOW + 30)
    rates = sampler.rates("iris")
    assert rates is not None
    assert (rates.seconds, rates.requests_per_second) == (30.0, 3.0)


async def test_prometheus_counts_what_came(store: Store) -> None:
    gateway = FakeGateway()
    sampler = sampler_of(store, gateway)
    before = [counted(name) for name in ("requests", "request_errors")]
    gateway.has_counted(0)
    await sampler.sample(NOW)
    gateway.has_counted(20, 3)
    await sampler.sample(NOW + 10)
    after = [counted(name) for name in ("requests", "request_errors")]
    assert [now - then for then, now in zip(before, after, strict=True)] == [20, 3]

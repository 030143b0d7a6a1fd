"""What an app answers through its NodePort."""

import asyncio
from collections.abc import Collection
from typing import Any

import httpx

from tests.targets.kubernetes.world import World
from tests.testbed import node_ports

NODE_PORT: dict[str, Any] = {"service": {"type": "NodePort", "port": 80}}


def page(world: World) -> str:
    """What the app answers through its NodePort."""
    there = node_ports.address(world.cluster, "iris", world.namespace)
    return httpx.get(there, timeout=5, trust_env=False, verify=False).raise_for_status().text


async def answering(world: World) -> None:
    """Wait until kube-proxy knows a new Service."""
    await asyncio.to_thread(node_ports.answering, world.cluster, "iris", world.namespace)


async def served_throughout(world: World, answers: Collection[str] = ("one",)) -> None:
    """Ask many times; another answer, or none, fails the test."""
    while True:
        assert await asyncio.to_thread(page, world) in answers
        await asyncio.sleep(0.1)

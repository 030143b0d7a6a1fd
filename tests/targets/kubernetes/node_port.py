"""What an app answers through its NodePort."""

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import Collection
from typing import Any

from tests.targets.kubernetes.world import World

NODE_PORT: dict[str, Any] = {"service": {"type": "NodePort", "port": 80}}


def page(world: World) -> str:
    """What the app answers through its NodePort."""
    port = world.cluster.get("service", "iris", f"--namespace={world.namespace}")["spec"]["ports"][0]["nodePort"]
    with urllib.request.urlopen(f"http://{world.cluster.node_address()}:{port}/", timeout=5) as answer:
        return str(answer.read().decode())


async def answering(world: World) -> None:
    """Wait until kube-proxy knows a new Service."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(urllib.error.URLError):
                await asyncio.to_thread(page, world)
                return
            await asyncio.sleep(0.1)


async def served_throughout(world: World, answers: Collection[str] = ("one",)) -> None:
    """Ask many times; another answer, or none, fails the test."""
    while True:
        assert await asyncio.to_thread(page, world) in answers
        await asyncio.sleep(0.1)

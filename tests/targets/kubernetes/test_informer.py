import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.informer import Informer, running
from tests.targets.kubernetes.api_server import ApiServer, a_list, an_item, lines, refuses, says

PATH = "/api/v1/namespaces/ml/pods"
QUIET = lines(hold=True)


class Seen:
    """An informer of PATH, and its reports of each change."""

    def __init__(self, cluster: Cluster) -> None:
        self._woken = asyncio.Event()
        self.informer = Informer(cluster, PATH, self._change, labelSelector="app=iris")
        self.fresh: list[bool] = []

    def _change(self) -> None:
        self.fresh.append(self.informer.fresh)
        self._woken.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await self._woken.wait()
                self._woken.clear()

    async def until_uids(self, *uids: str) -> None:
        await self.until(lambda: self.informer.fresh and set(self.informer.objects) == set(uids))


@asynccontextmanager
async def seen(cluster: Cluster) -> AsyncIterator[Seen]:
    eyes = Seen(cluster)
    async with running(eyes.informer):
        yield eyes


def watch_versions(server: ApiServer) -> list[str]:
    return [request.query["resourceVersion"] for request in server.asked if "watch" in request.query]


async def test_a_mirror_shows_the_list_and_what_changes(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_list("10", an_item("a"), an_item("b"))))
    changes = lines(
        ("ADDED", an_item("c", "11")),
        ("MODIFIED", an_item("a", "12", new=True)),
        ("DELETED", an_item("b", "13")),
        hold=True,
    )
    server.on("WATCH", PATH, changes)
    async with seen(api) as eyes:
        await eyes.until_uids("a", "c")
        assert eyes.informer.objects["a"]["new"] is True
    assert all(request.query["labelSelector"] == "app=iris" for request in server.asked)


async def test_a_watch_that_ends_goes_on_from_the_last_version(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_list("10")))
    first = lines(("ADDED", an_item("a", "11")), ("BOOKMARK", {"metadata": {"resourceVersion": "20"}}))
    server.on("WATCH", PATH, first, lines(("ADDED", an_item("b", "21")), hold=True))
    async with seen(api) as eyes:
        await eyes.until_uids("a", "b")
    assert watch_versions(server) == ["10", "20"]
    assert all(eyes.fresh)


@pytest.mark.parametrize(
    "trouble",
    [
        lines(("ERROR", {"kind": "Status", "code": 410, "message": "too old"})),
        lines(("ERROR", {"kind": "Status", "code": 500, "message": "etcd"})),
        refuses(410, "Expired", "too old resource version"),
        refuses(503, "ServiceUnavailable", "shutting down"),
        refuses(401, "Unauthorized", "token expired"),
        lines(b"<html>502 Bad Gateway</html>\n"),
        lines(b'"just a string"\n'),
        lines(b'{"type": "ADDED"}\n'),
        lines(b'{"type": "ADD', drop=True),
        lines(("ADDED", an_item("gone", "11")), drop=True),
        lines(b"x" * (5 * 1024 * 1024) + b"\n"),
    ],
    ids=[
        "gone event",
        "error event",
        "gone",
        "503",
        "401",
        "page",
        "string",
        "half event",
        "half line",
        "drop",
        "long line",
    ],
)
async def test_a_failed_watch_lists_again(server: ApiServer, api: Cluster, trouble: object) -> None:
    server.on("GET", PATH, says(a_list("10", an_item("a"))), says(a_list("30", an_item("z"))))
    server.on("WATCH", PATH, trouble, QUIET)  # type: ignore[arg-type]
    async with seen(api) as eyes:
        await eyes.until_uids("z")
    assert watch_versions(server)[:2][0] == "10"


async def test_a_mirror_reports_when_the_server_is_unavailable(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_list("10", an_item("a"))), says(a_list("30", an_item("b"))))
    server.on("WATCH", PATH, QUIET)
    async with seen(api) as eyes:
        await eyes.until_uids("a")
        await server.stop()
        await eyes.until(lambda: not eyes.informer.fresh)
        assert set(eyes.informer.objects) == {"a"}
        await server.start()
        await eyes.until_uids("b")


async def test_a_server_that_refuses_ends_the_mirror_with_its_reason(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, refuses(403, "Forbidden", "pods is forbidden"))
    async with seen(api) as eyes:
        await eyes.until(lambda: eyes.informer.failure is not None)
    assert "pods is forbidden" in str(eyes.informer.failure)
    assert len(server.asked) == 1


@pytest.mark.slow
async def test_an_early_forbidden_answer_is_tried_again(server: ApiServer, api: Cluster) -> None:
    forbidden = refuses(403, "Forbidden", "pods is forbidden")
    server.on("GET", PATH, says(a_list("10", an_item("a"))), forbidden, forbidden, says(a_list("30", an_item("b"))))
    server.on("WATCH", PATH, lines(drop=True), QUIET)
    async with seen(api) as eyes:
        await eyes.until_uids("b")
    assert eyes.informer.failure is None
    assert False in eyes.fresh


@pytest.mark.slow
async def test_a_lost_right_is_reported_after_a_while(
    server: ApiServer, api: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployd.targets.kubernetes.informer._READING_ROLES_S", 0.3)
    server.on("GET", PATH, says(a_list("10")), refuses(403, "Forbidden", "pods is forbidden"))
    server.on("WATCH", PATH, lines(drop=True))
    async with seen(api) as eyes:
        await eyes.until(lambda: eyes.informer.failure is not None)


@pytest.mark.slow
async def test_an_empty_answer_does_not_cause_a_flood_of_requests(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PATH, says(a_list("10")))
    server.on("WATCH", PATH, lines())
    async with seen(api):
        await asyncio.sleep(1.5)
    assert len(server.asked) < 15

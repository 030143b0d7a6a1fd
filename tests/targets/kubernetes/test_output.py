import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web

from deployd.targets.kubernetes.client import Cluster
from deployd.targets.kubernetes.output import followed, last_lines, printed, start
from tests.targets.kubernetes.api_server import Answer, ApiServer, a_list, lines, refuses, says

PODS = "/api/v1/namespaces/ml/pods"


def a_pod(name: str, phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
        "status": {"phase": phase, "containerStatuses": [{"state": {"running": {}}}]},
    }


def text(body: str, *, hold: bool = False) -> Answer:
    """A log as the kubelet sends it."""
    return lines(body.encode(), hold=hold)


def stamped(*lines: str) -> str:
    return "".join(f"2026-01-01T00:00:0{at}.5Z {line}\n" for at, line in enumerate(lines))


async def test_each_line_begins_with_its_pod(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PODS, says(a_list("1", a_pod("b"), a_pod("a"), a_pod("c"))))
    server.on("GET", f"{PODS}/a/log", text("2026-01-01T00:00:01Z one\n2026-01-01T00:00:01Z two\n"))
    server.on("GET", f"{PODS}/b/log", text("2026-01-01T00:00:00Z three\n"))
    server.on("GET", f"{PODS}/c/log", refuses(400, "BadRequest", "container is waiting to start"))
    async with aclosing(printed(api, PODS, "app=iris", "iris", start(10, None))) as found:
        assert [line async for line in found] == [b"[a] one\n", b"[a] two\n", b"[b] three\n"]
    logs = [request for request in server.asked if request.path.endswith("/log")]
    assert {request.query["tailLines"] for request in logs} == {"10"}
    assert {request.query["container"] for request in logs} == {"iris"}


@pytest.mark.slow
async def test_a_followed_log_that_ends_is_resumed_without_repeating_a_line(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PODS, says(a_list("1", a_pod("a"))))
    server.on("WATCH", PODS, lines(hold=True))
    server.on(
        "GET",
        f"{PODS}/a/log",
        text("2026-01-01T00:00:01Z one\n2026-01-01T00:00:02Z two\n"),
        text("2026-01-01T00:00:02Z two\n2026-01-01T00:00:02Z three\n2026-01-01T00:00:03Z four\n", hold=True),
    )
    async with asyncio.timeout(20), aclosing(followed(api, PODS, "app=iris", "iris", start(None, None))) as found:
        seen = [await anext(found) for _ in range(4)]
    assert seen == [b"[a] one\n", b"[a] two\n", b"[a] three\n", b"[a] four\n"]
    again = [request for request in server.asked if request.path.endswith("/log")][1]
    assert again.query["sinceTime"] == "2026-01-01T00:00:02Z"


async def test_equal_lines_of_one_answer_are_all_shown(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PODS, says(a_list("1", a_pod("a"))))
    said = "2026-01-01T00:00:02Z two\n2026-01-01T00:00:01Z late\n2026-01-01T00:00:02Z two\n"
    server.on("GET", f"{PODS}/a/log", text(said))
    async with aclosing(printed(api, PODS, "app=iris", "iris", start(None, None))) as found:
        assert [line async for line in found] == [b"[a] two\n", b"[a] late\n", b"[a] two\n"]


async def test_the_output_of_later_pods_is_added(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PODS, says(a_list("1", a_pod("a"))))
    server.on("WATCH", PODS, lines(("ADDED", a_pod("b")), hold=True))
    server.on("GET", f"{PODS}/a/log", text("2026-01-01T00:00:01Z one\n", hold=True))
    server.on("GET", f"{PODS}/b/log", text("2026-01-01T00:00:01Z two\n", hold=True))
    async with asyncio.timeout(20), aclosing(followed(api, PODS, "app=iris", "iris", start(5, None))) as found:
        assert {await anext(found), await anext(found)} == {b"[a] one\n", b"[b] two\n"}


async def test_the_last_output_is_that_of_the_crashed_container(server: ApiServer, api: Cluster) -> None:
    async def previous_only(request: web.Request) -> web.StreamResponse:
        assert request.query["timestamps"] == "true"
        return web.Response(text=stamped("boom" if request.query["previous"] == "true" else "fresh"))

    server.on("GET", f"{PODS}/a/log", previous_only)
    assert await last_lines(api, f"{PODS}/a", "iris", 5) == "boom"


async def test_the_last_output_is_asked_for_again_when_the_crashed_container_was_just_replaced(
    server: ApiServer, api: Cluster
) -> None:
    gone = text("unable to retrieve container logs for docker://996858e5cac5")
    server.on("GET", f"{PODS}/a/log", gone, text(""), text(stamped("boom")))
    assert await last_lines(api, f"{PODS}/a", "iris", 5) == "boom"
    server.on("GET", f"{PODS}/a/log", gone)
    assert await last_lines(api, f"{PODS}/a", "iris", 5) == ""


async def test_without_a_crashed_container_the_output_of_the_running_one_is_shown(
    server: ApiServer, api: Cluster
) -> None:
    server.on("GET", f"{PODS}/a/log", refuses(400, "BadRequest", "previous terminated not found"), text(stamped("now")))
    assert await last_lines(api, f"{PODS}/a", "iris", 5) == "now"
    server.on("GET", f"{PODS}/a/log", refuses(404, "NotFound", "gone"))
    assert await last_lines(api, f"{PODS}/a", "iris", 5) == ""


KUBELETS_OWN = [
    'failed to try resolving symlinks in path "/var/log/pods/ml_iris/iris/1.log": lstat: no such file or directory',
    'failed to open log file "/var/log/pods/ml_iris/iris/1.log": open: no such file or directory',
    "unable to retrieve container logs for containerd://996858e5cac5",
    "failed to create fsnotify watcher: too many open files",
]


@pytest.mark.parametrize("own", KUBELETS_OWN)
async def test_the_last_output_is_never_the_kubelets_own_words(server: ApiServer, api: Cluster, own: str) -> None:
    server.on("GET", f"{PODS}/a/log", text(own))
    assert await last_lines(api, f"{PODS}/a", "iris", 5) == ""
    server.on("GET", f"{PODS}/a/log", text(stamped("first", "", "50%\r100%", "last") + own))
    assert await last_lines(api, f"{PODS}/a", "iris", 5) == "first\n\n50%\r100%\nlast"


@pytest.mark.slow
async def test_a_followed_log_goes_on_after_the_kubelets_own_words(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PODS, says(a_list("1", a_pod("a"))))
    server.on("WATCH", PODS, lines(hold=True))
    passing, lasting = KUBELETS_OWN[0], KUBELETS_OWN[3]
    server.on(
        "GET",
        f"{PODS}/a/log",
        text(stamped("one") + passing),
        text(stamped("one", "two") + lasting),
        text(stamped("one", "two", "three") + lasting),
        text(stamped("one", "two", "three", "four") + lasting, hold=True),
    )
    async with asyncio.timeout(20), aclosing(followed(api, PODS, "app=iris", "iris", start(None, None))) as found:
        seen = [(await anext(found)).decode() for _ in range(5)]
    assert seen == [
        "[a] one\n",
        "[a] two\n",
        "[a] three\n",
        f"[a] (its node cannot give the log: {lasting})\n",
        "[a] four\n",
    ]
    since = [request.query.get("sinceTime") for request in server.asked if request.path.endswith("/log")]
    assert since == [None, "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:01.5Z", "2026-01-01T00:00:02.5Z"]


async def test_a_present_log_that_its_node_cannot_give_says_so(server: ApiServer, api: Cluster) -> None:
    server.on("GET", PODS, says(a_list("1", a_pod("a"))))
    server.on("GET", f"{PODS}/a/log", text(KUBELETS_OWN[1]))
    async with aclosing(printed(api, PODS, "app=iris", "iris", start(10, None))) as found:
        assert [line.decode() async for line in found] == [f"[a] (its node cannot give the log: {KUBELETS_OWN[1]})\n"]

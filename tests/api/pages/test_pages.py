"""The pages as HTML: what each shows, what a role does not see, and how they answer when something is wrong."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from deployd.api.pages.apps import timeline
from deployd.api.pages.deliveries import came_of
from deployd.delivery import Delivery, Followed, Outcome, Push
from deployd.domain import Deploy, GateResult
from deployd.errors import Unavailable
from deployd.goal import Trigger
from deployd.status import Status
from tests.api.pages.given import HEADERS, WAY, delivered, ended, secured_desk
from tests.desk import MAIN, REPO, A, B, C, Desk, desk

LIVE = {"HX-Request": "true"}


@pytest.fixture
async def reader(daemon: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that may do everything."""
    async with daemon.browser(**HEADERS) as client:
        yield client


def _logged_in(daemon: Desk, name: str) -> httpx.AsyncClient:
    return daemon.browser("192.0.2.7", **HEADERS, Authorization=f"Bearer {name}-token")


async def test_the_first_page_is_for_browsers_and_the_version_for_scripts(daemon: Desk) -> None:
    async with daemon.browser() as script:
        assert (await script.get("/")).json()["apps"] == "/api/v1/apps"
    async with daemon.browser(**HEADERS) as browser:
        assert "<h1>Apps</h1>" in (await browser.get("/")).text


async def test_every_page_has_a_policy_that_forbids_all_that_is_not_ours(reader: httpx.AsyncClient) -> None:
    for path in ("/", "/deliveries", "/apps/iris", "/apps/none"):
        answer = await reader.get(path)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"), (
            path
        )
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert " style=" not in answer.text
        assert "<script>" not in answer.text


async def test_the_first_page_shows_what_serves_what_is_on_its_way_and_what_needs_a_look(
    daemon: Desk, reader: httpx.AsyncClient
) -> None:
    await daemon.deployed(A)
    daemon.target.trouble = Unavailable("the engine is away")
    await daemon.scheduler.pause("rose", paused=True, by="ada")
    page = (await reader.get("/")).text
    assert '<a href="/apps/iris/deploys/1">#1</a> <code title="' + A in page
    assert "rose was paused by ada: new deploys wait until it is resumed." in page
    assert "nothing serves: push to main, or deploy it by hand" in page
    assert 'aria-label="Last deploys of iris, the newest last: #1 live' in page


async def test_the_first_page_says_why_a_deploy_waits(daemon: Desk, reader: httpx.AsyncClient) -> None:
    daemon.builder.away = [Unavailable("the registry is away") for _ in range(50)]
    daemon.source.remotes[REPO][MAIN] = A
    await daemon.scheduler.deploy("iris", A, "ada")
    async for event in daemon.events.watch(after=0):
        if event.kind == "deploy.status" and event.data.get("reason"):
            break
    for path in ("/", "/apps/iris"):
        page = (await reader.get(path)).text
        assert "iris/1 waits: the registry is away" in page, path
        assert "most of it" not in page


async def test_without_apps_the_first_page_says_what_to_do(tmp_path: Path) -> None:
    async with desk(tmp_path, {"git": {"poll_every": "1h"}}) as daemon, daemon.browser(**HEADERS) as client:
        page = (await client.get("/")).text
        assert "No app is configured yet." in page
        assert "<code>deployd reload</code>" in page


async def test_only_the_live_parts_are_sent_to_a_browser_that_has_the_page(reader: httpx.AsyncClient) -> None:
    page = (await reader.get("/apps/iris", headers=LIVE)).text
    assert page.startswith("<title>iris · deployd</title>")
    assert '<hx-partial hx-target="#app-timeline" hx-swap="innerMorph">' in page
    assert "<dialog" not in page
    assert "<html" not in page


async def test_a_page_has_one_stream_which_begins_where_the_page_was_drawn(
    daemon: Desk, reader: httpx.AsyncClient
) -> None:
    page = (await reader.get("/apps/iris")).text
    assert page.count("hx-sse:connect") == 1
    assert 'hx-sse:connect="/api/v1/events?app=iris&amp;output=iris"' in page
    assert f'{{"Last-Event-ID": "{daemon.events.latest}"}}' in page


async def test_a_deploy_shows_why_it_failed_on_top_and_what_its_gates_found(
    daemon: Desk, reader: httpx.AsyncClient
) -> None:
    rows = ({"case": 2, "path": "$.y", "expected": 0.5, "got": "<b>0</b>"},)
    gates = [GateResult("golden", "failed", "1 of 12 is wrong", {"cases": 12, "wrong": 1}, rows)]
    await ended(daemon.store, "rose", A, "First", *WAY, steps=["fetch", "build"], model={"version": "1"})
    await ended(
        daemon.store,
        "rose",
        B,
        "Second",
        Status.BUILDING,
        Status.FAILED,
        reason="the golden gate failed",
        hint="case 2 of 12",
        steps=["fetch", "build", "golden"],
        gates=gates,
        model={"version": "2", "metrics": {"accuracy": 0.9}},
    )
    page = (await reader.get("/apps/rose/deploys/2")).text
    assert page.index("The golden gate failed") < page.index("case 2 of 12") < page.index("<h2>Steps</h2>")
    assert '<a href="/apps/rose/deploys/1">rose/1</a> goes on serving.' in page
    assert "<td>0.5</td><td>&lt;b&gt;0&lt;/b&gt;</td>" in page
    assert '<th scope="row">metrics.accuracy</th><td>0.9</td>' in page
    assert 'What differs from <a href="/apps/rose/deploys/1">rose/1</a>' in page
    assert '<th scope="row">model version</th><td>1</td><td>2</td>' in page
    assert "Deploy this commit again…" in page


async def test_a_deploy_in_flight_shows_the_steps_to_come_and_how_long_they_usually_take(
    daemon: Desk, reader: httpx.AsyncClient
) -> None:
    await daemon.deployed(A)
    daemon.builder.held[B] = asyncio.Event()
    daemon.source.remotes[REPO][MAIN] = B
    await daemon.scheduler.deploy("iris", B, "ada")
    await daemon.becomes("iris", 2, Status.BUILDING)
    async for event in daemon.events.watch(after=0):
        if event.kind == "step" and event.number == 2 and event.data["name"] == "build":
            break
    page = (await reader.get("/apps/iris/deploys/2")).text
    assert "<progress" in page
    assert '<tr class="faint"><th scope="row">cut-over</th>' in page
    assert "to come" in page
    assert "asked for by ada" in page
    home = (await reader.get("/")).text
    assert "<span>build, about" in home


async def test_a_role_that_may_only_read_sees_no_button_that_acts(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon:
        await daemon.deployed(A)
        await delivered(daemon.store, "g", A)
        for path in ("/apps/iris", "/apps/iris/deploys/1", "/deliveries"):
            async with _logged_in(daemon, "reader") as reader, _logged_in(daemon, "ada") as deployer:
                for acts in ("command=", "data-asks", "<dialog"):
                    assert acts not in (await reader.get(path)).text, path
                assert "<dialog" in (await deployer.get(path)).text, path


async def test_deliveries_say_why_a_push_was_not_deployed(daemon: Desk, reader: httpx.AsyncClient) -> None:
    assert "No webhook has been delivered yet." in (await reader.get("/deliveries")).text
    await delivered(daemon.store, "first", A)
    await delivered(daemon.store, "second", B, skip="no file below paths has changed")
    page = (await reader.get("/deliveries")).text
    assert "not deployed: no file below paths has changed" in page
    assert '<a href="/apps/iris/deploys/1">iris/1 is queued' in page or "iris/1" in page
    assert page.index("second") < page.index("first")


async def test_a_delivery_of_several_refs_names_each_of_them(daemon: Desk, reader: httpx.AsyncClient) -> None:
    followed = [
        Followed(Push("x", ref, commit), (app,))
        for ref, commit, app in ((MAIN, A, "iris"), ("refs/heads/dev", B, "rose"))
    ]
    await daemon.store.accept(Delivery("bitbucket", "g", "push"), followed)
    page = (await reader.get("/deliveries")).text
    assert f"<code>{A[:8]}</code> to main, <code>{B[:8]}</code> to dev\n" in page
    assert "taken for iris, rose" in page


def _deploy(number: int, status: Status, **values: object) -> Deploy:
    at = datetime(2026, 11, 27, tzinfo=UTC)
    return Deploy("iris", number, A, MAIN, Trigger("push"), status, at, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "deploy", "trouble", "said"),
    [
        (Outcome("iris"), None, "", "not looked at yet, and soon will be"),
        (Outcome("iris"), None, "no route to host", "not looked at yet: no route to host"),
        (
            Outcome("iris", _deploy(1, Status.LIVE).created_at, A, None, "a docs-only push"),
            None,
            "",
            "not deployed: a docs-only push",
        ),
        (
            Outcome("iris", _deploy(1, Status.LIVE).created_at, B, 2),
            _deploy(2, Status.FAILED, reason="the build failed"),
            "",
            "iris/2 failed (the remote showed bbbbbbbb by then): the build failed",
        ),
        (Outcome("iris", _deploy(1, Status.LIVE).created_at, A, 2), _deploy(2, Status.LIVE), "", "iris/2 is live"),
    ],
)
def test_the_outcome_of_a_delivery_is_a_sentence(
    outcome: Outcome, deploy: Deploy | None, trouble: str, said: str
) -> None:
    assert came_of(outcome, A, deploy, trouble).text == said


def test_the_timeline_says_who_took_whose_place() -> None:
    deploys = [
        _deploy(3, Status.LIVE),
        _deploy(2, Status.SUPERSEDED, superseded_by=3),
        _deploy(1, Status.SUPERSEDED, superseded_by=3),
    ]
    lines = timeline(deploys, {}, deploys[0].created_at)
    assert [list(line.replaced) for line in lines] == [[2, 1], [], []]


async def test_older_deploys_are_a_page_further(daemon: Desk, reader: httpx.AsyncClient) -> None:
    for at in range(27):
        await ended(daemon.store, "rose", f"{at:040x}", f"Number {at}", Status.BUILDING, Status.FAILED)
    page = (await reader.get("/apps/rose")).text
    assert '<a href="/apps/rose?before=3">Older deploys</a>' in page
    older = (await reader.get("/apps/rose?before=3")).text
    assert 'id="deploy-2"' in older
    assert 'id="deploy-3"' not in older
    assert "Newest deploys" in older


@pytest.mark.parametrize(
    "path", ["/nothing", "/apps/none", "/apps/iris/deploys/77", "/apps/iris/deploys/x", "/apps/iris?before=x"]
)
async def test_a_missing_address_gets_a_page(reader: httpx.AsyncClient, path: str) -> None:
    answer = await reader.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "<h1>Not found</h1>" in answer.text


async def test_text_from_a_commit_is_never_markup(daemon: Desk, reader: httpx.AsyncClient) -> None:
    evil = "<script>alert(1)</script>"
    await ended(daemon.store, "rose", C, evil, Status.BUILDING, Status.FAILED, reason=evil, hint=evil)
    for path in ("/", "/apps/rose", "/apps/rose/deploys/1"):
        page = (await reader.get(path)).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


async def test_the_badge_stays(daemon: Desk, reader: httpx.AsyncClient) -> None:
    assert (await reader.get("/apps/iris/badge.svg")).headers["content-type"].startswith("image/svg+xml")

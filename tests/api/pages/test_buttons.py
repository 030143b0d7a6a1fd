"""What the buttons do, who it is that did it, and what a role may not."""

from pathlib import Path

import httpx
import pytest

from deployd.status import Status
from tests.api.pages.given import FORM, delivered, secured_desk
from tests.desk import MAIN, REPO, A, B, Desk


def _as(daemon: Desk, name: str) -> httpx.AsyncClient:
    return daemon.browser("192.0.2.7", **FORM, Authorization=f"Bearer {name}-token")


async def test_a_deploy_a_proof_and_a_rollback_lead_to_their_deploys(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as client:
        await daemon.deployed(A)
        daemon.source.remotes[REPO][MAIN] = B
        answer = await client.post("/apps/iris/deploy", data={"commit": " main ", "rebuild": "on"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/apps/iris/deploys/2")
        deploy = await daemon.becomes("iris", 2, Status.LIVE)
        assert (deploy.commit, deploy.rebuild, deploy.accept_changes, deploy.trigger.by) == (B, True, False, "ada")
        answer = await client.post("/apps/iris/deploy", data={"commit": "", "prove": "on"})
        assert (await daemon.becomes("iris", 3, Status.PROVEN)).prove
        answer = await client.post("/apps/iris/rollback", data={"to": ""})
        assert answer.status_code == 303
        live = (await daemon.store.state("iris")).live
        assert live is not None
        answer = await client.post("/apps/iris/restart")
        assert answer.status_code in {303, 409}


async def test_a_cancel_says_who_did_it(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as client:
        await daemon.scheduler.pause("iris", paused=True)
        daemon.source.remotes[REPO][MAIN] = A
        await daemon.scheduler.deploy("iris", A, "bob")
        answer = await client.post("/apps/iris/deploys/1/cancel")
        assert answer.headers["location"] == "/apps/iris/deploys/1"
        assert (await daemon.becomes("iris", 1, Status.CANCELLED)).reason == "cancelled by hand by ada"


async def test_a_cancel_of_what_runs_says_who_did_it(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as client:
        daemon.source.remotes[REPO][MAIN] = A
        await daemon.scheduler.deploy("iris", A, "bob")
        while (await client.post("/apps/iris/deploys/1/cancel")).status_code == 409:
            pass
        done = await daemon.becomes("iris", 1, Status.CANCELLED, Status.LIVE)
        assert done.status is Status.LIVE or done.reason == "cancelled by hand by ada"


async def test_a_pause_says_who_did_it_and_a_second_one_changes_nothing(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as ada, _as(daemon, "admin") as admin:
        assert (await ada.post("/apps/iris/pause")).headers["location"] == "/apps/iris"
        await admin.post("/apps/iris/pause")
        state = await daemon.store.state("iris")
        assert (state.paused, state.paused_by) == (True, "ada")
        await admin.post("/apps/iris/resume")
        state = await daemon.store.state("iris")
        assert (state.paused, state.paused_by, state.paused_at) == (False, None, None)
        await admin.post("/apps/iris/pause")
        assert (await daemon.store.state("iris")).paused_by == "admin"


async def test_a_scale_is_told_on_the_page(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as client:
        daemon.target.replicas = 1
        answer = await client.post("/apps/iris/scale", data={"replicas": "3"})
        assert daemon.target.replicas == 3
        assert "The number of pods was changed." in (await client.get(answer.headers["location"])).text


async def test_the_page_of_the_app_and_the_api_show_who_resumed_scaled_and_redelivered(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as ada, _as(daemon, "admin") as admin:
        daemon.target.replicas = 1
        await delivered(daemon.store, "guid 1", A)
        await ada.post("/apps/iris/pause")
        await admin.post("/apps/iris/resume")
        await ada.post("/apps/iris/scale", data={"replicas": "3"})
        await admin.post("/deliveries/guid%201/redeliver")
        said = ["admin redelivered guid 1", "ada scaled it to 3 pods", "admin resumed it", "ada paused it"]
        page = (await ada.get("/apps/iris")).text
        places = [page.index(f"{one} <time") for one in said]
        assert places == sorted(places)
        acts = (await ada.get("/api/v1/apps/iris")).json()["acts"]
        assert [(act["by"], act["done"], act["detail"]) for act in acts] == [
            ("admin", "redelivered", "guid 1"),
            ("ada", "scaled", "3"),
            ("admin", "resumed", ""),
            ("ada", "paused", ""),
        ]


async def test_a_refused_act_is_not_recorded(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as client:
        assert (await client.post("/apps/iris/scale", data={"replicas": "2"})).status_code == 409
        assert (await daemon.store.state("iris")).acts == ()


async def test_a_redelivery_decides_a_head_again_whose_deploy_failed(tmp_path: Path) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as client:
        daemon.source.remotes[REPO][MAIN] = A
        daemon.builder.broken.add(A)
        await delivered(daemon.store, "guid 1", A)
        daemon.scheduler.looks.ask(["iris"])
        await daemon.scheduler.deploy("iris", A, "bob")  # wakes the lane
        await daemon.becomes("iris", 2, Status.FAILED)
        daemon.builder.broken.clear()
        answer = await client.post("/deliveries/guid%201/redeliver")
        assert answer.headers["location"] == "/deliveries?done=redelivered"
        assert "processed again" in (await client.get(answer.headers["location"])).text


@pytest.mark.parametrize(
    ("path", "data", "status", "said"),
    [
        ("/apps/iris/rollback", {"to": ""}, 409, "Iris has no live release to go back from."),
        ("/apps/iris/rollback", {"to": "x"}, 422, "Expected the number of a release."),
        ("/apps/iris/deploy", {"commit": "-x"}, 422, "no hyphen in front"),
        ("/apps/iris/scale", {"replicas": "-1"}, 422, "The number of pods is between 0 and 1000."),
        ("/apps/iris/scale", {"replicas": "2"}, 409, "Iris runs on Docker, which has no replicas."),
        ("/apps/none/pause", {}, 404, "There is no app none."),
        ("/deliveries/none/redeliver", {}, 404, "There is no delivery none."),
    ],
)
async def test_a_refused_act_gets_a_page_with_the_reason(
    tmp_path: Path, path: str, data: dict[str, str], status: int, said: str
) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "ada") as client:
        answer = await client.post(path, data=data)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert said in answer.text


@pytest.mark.parametrize(
    "path",
    [
        *(f"/apps/iris/{what}" for what in ("deploy", "rollback", "restart", "pause", "resume", "scale")),
        "/apps/iris/deploys/1/cancel",
        "/deliveries/g/redeliver",
    ],
)
async def test_a_role_that_may_only_read_changes_nothing(tmp_path: Path, path: str) -> None:
    async with secured_desk(tmp_path) as daemon, _as(daemon, "reader") as client:
        answer = await client.post(path, data={"replicas": "2"})
        assert answer.status_code == 404
        assert "deploying needs role deploy" in answer.text
        assert await daemon.store.deploys("iris") == []
        assert not (await daemon.store.state("iris")).paused

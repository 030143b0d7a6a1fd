"""Models that are worse than the one that serves, each in its own way: each is refused before the switch, and says why."""

import json
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from deployd.api.answers import DeployAnswer
from deployd.bringup.engine import Engine
from deployd.bringup.load import Load
from deployd.status import Status
from tests.e2e.world import CONFIG, DOCKERFILE, REST, WHO, World, passing_world

pytestmark = [pytest.mark.engine, pytest.mark.slow]

COMPARED = """
[app.golden]
file = "golden.json"
[app.compare]
"""
RECORDED = COMPARED.replace("[app.compare]", '[app.record]\nshare = 1.0\n[app.compare]\nrequests = "recorded"')
EVALUATED = (
    COMPARED
    + """
[app.evaluate]
data = "eval.csv"
target = "species"
by = ["country"]
[app.evaluate.metrics.accuracy]
at_least = 0.9
not_worse_than_live = 0.1
slice_not_worse_than_live = 0.05
"""
)

MODEL = """\
import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEHAVIOUR = "well"
COMMIT = os.environ["COMMIT"]


def predict(row):
    x, right = row["x"], "ab"[row["x"] % 3 == 0]
    if BEHAVIOUR == "nan" and x == 7:
        return {"label": right, "score": float("nan")}
    if BEHAVIOUR == "crash" and x == 7:
        os._exit(9)
    swapped = BEHAVIOUR == "swapped" or (BEHAVIOUR == "slice" and row["country"] == "FR" and x % 16 == 0)
    return {"label": "ba"[x % 3 == 0] if swapped else right, "score": x / 100}


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(COMMIT.encode())

    def do_POST(self):
        rows = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        time.sleep(0.2 if BEHAVIOUR == "slow" else 0.02)
        self.answer(json.dumps({"predictions": [predict(row) for row in rows], "model": COMMIT}).encode())

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("0.0.0.0", 5000), Answers).serve_forever()
"""

ROWS = [(n, "FR" if n % 4 == 0 else "DE") for n in range(240)]
EVAL = "x,country,species\n" + "".join(f"{x},{country},{'ab'[x % 3 == 0]}\n" for x, country in ROWS)
BAD = {
    "swapped": ("evaluate", "accuracy 0 on 240 rows is below 0.9"),
    "slice": ("evaluate", "^the evaluate gate refused it: country=FR: accuracy 0.75 is worse than 1 of"),
    "nan": ("golden", r"case 8 of 12: \$\.predictions\[0\]\.score: NaN, expected 0.07"),
    "crash": ("golden", r"it stopped answering at case (\d or )*8\b"),
    "slow": ("compare", "clearly more than 2 times as slow"),
}


def golden(behaviour: str) -> str:
    """The golden answers; those of a model that was trained on swapped labels are swapped, too."""
    cases = []
    for x, country in ROWS[:12]:
        label = "ba"[x % 3 == 0] if behaviour == "swapped" else "ab"[x % 3 == 0]
        sliced = behaviour == "slice" and country == "FR" and x % 16 == 0
        answer = {"label": "ba"[x % 3 == 0] if sliced else label, "score": x / 100}
        cases.append({"request": {"instances": [{"x": x, "country": country}]}, "response": {"predictions": [answer]}})
    return json.dumps({"url": "/predict", "cases": cases})


async def push(world: World, behaviour: str, subject: str = "A model") -> DeployAnswer:
    """Push that model, and wait for the end of its deploy."""
    text = MODEL.replace('BEHAVIOUR = "well"', f'BEHAVIOUR = "{behaviour}"')
    world.repository.write("app.py", f"{text}# {time.monotonic_ns()}\n")
    world.repository.write("Dockerfile", DOCKERFILE)
    world.repository.write("golden.json", golden(behaviour))
    world.repository.write("eval.csv", EVAL)
    return await world.ended(await world.deliver(subject))


@pytest.fixture
async def models(
    request: pytest.FixtureRequest, tmp_path: Path, docker_engine: Engine, base_images: object
) -> AsyncIterator[World]:
    """A running world with these gates."""
    async with passing_world(tmp_path, docker_engine, CONFIG + request.param) as made:
        yield made


@pytest.mark.parametrize("models", [EVALUATED], indirect=True, ids=["evaluated"])
async def test_each_bad_model_is_refused_before_the_switch_by_the_rows_or_figures_that_are_wrong(models: World) -> None:
    first = await push(models, "well")
    assert first.status is Status.LIVE, first.reason
    load = Load(models.daemon.public_url, rest=REST)
    async with load.running(WHO, kept=2, fresh=1):
        for behaviour, (gate, why) in BAD.items():
            bad = await push(models, behaviour)
            assert (behaviour, bad.status) == (behaviour, Status.FAILED)
            assert bad.reason.startswith(f"the {gate} gate refused it: "), bad.reason
            assert re.search(why, bad.reason), bad.reason
    assert load.failures == []
    assert all(client.turns == [first.commit] for client in load.clients)
    good = await push(models, "well")
    assert good.status is Status.LIVE, good.reason
    verdicts = {gate.name: gate.verdict for gate in good.gates}
    assert verdicts == dict.fromkeys(("ready", "golden", "evaluate", "compare"), "passed")


@pytest.mark.parametrize("models", [COMPARED], indirect=True, ids=["compared"])
async def test_changed_predictions_are_accepted_by_a_person_and_by_the_commit(models: World) -> None:
    await push(models, "well")
    refused = await push(models, "swapped")
    assert refused.reason.startswith("the compare gate refused it: 12 of 12 answers differ from"), refused.reason
    accepted = await models.ended(await models.client.deploy(models.app, refused.commit, accept_changes=True))
    assert (accepted.status, accepted.accept_changes) == (Status.LIVE, True)
    assert (accepted.gates[-1].name, accepted.gates[-1].verdict) == ("compare", "warned")
    back = await push(models, "well", "Labels as before\n\nDeployd-Expect: new-predictions")
    assert back.status is Status.LIVE, back.reason
    assert back.gates[-1].figures["accepted"].endswith("commit says Deployd-Expect: new-predictions")
    again = await models.ended(await models.client.rollback(models.app))
    assert again.status is Status.LIVE, again.reason
    verdicts = {gate.name: gate.verdict for gate in again.gates}
    assert verdicts == {"ready": "passed", "golden": "passed", "compare": "not_judged"}


@pytest.mark.parametrize("models", [RECORDED], indirect=True, ids=["recorded"])
async def test_a_model_that_answers_what_clients_have_asked_otherwise_is_refused(models: World) -> None:
    await push(models, "well")
    async with httpx.AsyncClient(trust_env=False, base_url=models.daemon.public_url, verify=False) as http:
        for x in range(20):
            answer = await http.post("/predict", json={"instances": [{"x": 1000 + x, "country": "FR"}]})
            assert answer.status_code == 200
    refused = await push(models, "swapped")
    assert refused.reason.startswith("the compare gate refused it: 20 of 20 answers differ from"), refused.reason
    again = await push(models, "well")
    assert again.status is Status.LIVE, again.reason
    assert again.gates[-1].figures["n"] == 20

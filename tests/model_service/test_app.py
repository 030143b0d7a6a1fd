"""What is served besides predictions, and that the OpenAPI document tells the truth about all of it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_service.service import Service
from tests.model_service.process import Running, running


@pytest.fixture(scope="module")
def server(iris_dir: Path) -> Iterator[Running]:
    with running(iris_dir) as one:
        yield one


async def test_version_names_commit_model_and_metrics(client: httpx.AsyncClient, service: Service) -> None:
    told = (await client.get("/version")).json()
    assert told["commit"] == service.manifest.commit
    assert told["version"] == service.manifest.version
    assert told["metrics"]["accuracy"] > 0.9


async def test_the_whole_manifest_is_there(client: httpx.AsyncClient, service: Service) -> None:
    assert (await client.get("/manifest")).json() == service.manifest.model_dump()


async def test_unknown_paths_and_methods_answer_in_the_same_shape(client: httpx.AsyncClient) -> None:
    for answer, status in ((await client.get("/nope"), 404), (await client.delete("/version"), 405)):
        assert answer.status_code == status
        assert answer.json()["error"]
        assert "allow" in answer.headers or status == 404


async def test_the_try_it_page_needs_nobody_else(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text


async def test_health_says_live_but_not_ready_until_the_model_is_loaded(
    service: Service, client: httpx.AsyncClient
) -> None:
    service.model, loaded = None, service.model
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    answer = await client.get("/v2/health/ready")
    assert (answer.status_code, answer.json()["error"]) == (503, "the model is loading")
    assert (await client.get("/v2/models/iris/ready")).status_code == 503
    refused = await client.post("/predict", json={"instances": [[1, 2, 3, 4]]})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    service.model = loaded


async def test_the_documents_describe_the_hot_routes_with_this_models_features(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert {"/predict", "/api", "/v2/models/iris/infer", "/version"} <= set(document["paths"])
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    named = content["schema"]["properties"]["instances"]["items"]["oneOf"][1]
    assert named["required"] == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    assert (await client.get("/docs")).status_code == 200


@pytest.mark.slow
def test_schemathesis_finds_nothing(server: Running) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json", "--seed", "1"]
    done = subprocess.run([*command, "--max-examples", "40", "--no-color"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]

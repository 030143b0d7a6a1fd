"""The routes besides the predictions, and the OpenAPI document of all routes."""

import shutil
from pathlib import Path
from typing import Any

import httpx
from jsonschema_rs import Draft202012Validator

from model_service.manifest import Manifest
from model_service.service import Service
from model_service.settings import Settings
from tests.model_service.conftest import served


async def test_version_names_commit_model_and_metrics(client: httpx.AsyncClient, service: Service) -> None:
    version = (await client.get("/version")).json()
    assert version["commit"] == service.manifest.commit
    assert version["version"] == service.manifest.version
    assert version["metrics"]["accuracy"] > 0.9


async def test_manifest_shows_the_whole_manifest(client: httpx.AsyncClient, service: Service) -> None:
    assert (await client.get("/manifest")).json() == service.manifest.model_dump()


async def test_the_card_names_the_commit_that_the_image_was_built_for(iris_dir: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(iris_dir, tmp_path / "model"))
    known = Manifest.read(directory).commit
    card = directory / "MODEL.md"
    card.write_text(card.read_text().replace(f"from commit {known}", "from commit unknown"))
    async with served(Settings(dir=directory, commit="d" * 40)) as (client, _):
        answer = await client.get("/MODEL.md")
        assert f"from commit {'d' * 40}" in answer.text
        assert answer.headers["content-type"].startswith("text/markdown")
        card.unlink()
        assert (await client.get("/MODEL.md")).text == ""


async def test_unknown_paths_and_methods_get_an_error_as_json(client: httpx.AsyncClient) -> None:
    for answer, status in ((await client.get("/nope"), 404), (await client.delete("/version"), 405)):
        assert answer.status_code == status
        assert answer.json()["error"]
        assert "allow" in answer.headers or status == 404


async def test_the_try_it_page_loads_nothing_from_other_hosts(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text


async def test_the_service_is_live_but_not_ready_until_the_model_is_loaded(
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


async def test_the_openapi_document_describes_the_features_of_the_model(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    assert {"/predict", "/api", "/v2/models/iris/infer", "/version"} <= set(document["paths"])
    content = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    named_row = content["schema"]["properties"]["instances"]["items"]["oneOf"][1]
    assert named_row["required"] == ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    assert (await client.get("/docs")).status_code == 200


async def test_the_openapi_document_allows_only_requests_that_are_answered(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    infer = document["paths"]["/v2/models/iris/infer"]["post"]
    content = infer["requestBody"]["content"]
    assert set(content) == {"application/json", "application/octet-stream"}
    assert set(infer["responses"]["200"]["content"]) == {"application/json", "application/octet-stream"}
    validator = Draft202012Validator(content["application/json"]["schema"])
    row, rows = [5.8, 4.0, 1.2, 0.2], [[5.8, 4.0, 1.2, 0.2], [6.0, 3.0, 5.5, 2.0]]
    columns = [
        {"name": feature.name, "shape": [1], "datatype": "FP32", "data": [1.0]}
        for feature in Manifest.model_validate((await client.get("/manifest")).json()).features
    ]
    valid: list[dict[str, Any]] = [
        {"inputs": [{"name": "x", "shape": [4], "datatype": "FP64", "data": row}]},
        {"inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": rows}]},
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "INT8", "data": [6, 3, 5, 2]}]},
        {"inputs": columns, "outputs": [{"name": "label", "parameters": {"binary_data": True}}]},
        {"inputs": columns, "outputs": None, "id": "7", "parameters": {"binary_data_output": True}},
    ]
    for message in valid:
        validator.validate(message)
        assert (await client.post("/v2/models/iris/infer", json=message)).status_code == 200
    invalid: list[Any] = [{}, {"inputs": []}, {"inputs": columns, "outputs": [{"name": "x"}]}]
    for message in invalid:
        assert not validator.is_valid(message)
    assert infer["parameters"][0]["name"] == "Inference-Header-Content-Length"


async def test_the_version_is_a_parameter_of_the_path_only(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    for path in ("/v2/models/{name}", "/v2/models/{name}/ready"):
        assert [parameter["name"] for parameter in paths[path]["get"]["parameters"]] == ["name"]
        assert (await client.get(path.format(name="iris"), params={"version": "zzz"})).status_code == 200
    versioned = paths["/v2/models/{name}/versions/{version}"]["get"]["parameters"]
    assert {(parameter["name"], parameter["in"]) for parameter in versioned} == {("name", "path"), ("version", "path")}

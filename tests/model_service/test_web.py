"""What browsers, proxies and load balancers ask besides predictions: HEAD, OPTIONS, CORS, compression, a path in front."""

from pathlib import Path

import httpx
import pytest

from model_service.predictions import accepts_gzip
from model_service.settings import Settings
from tests.model_service.conftest import served
from tests.model_service.process import running

ROW = [5.8, 4.0, 1.2, 0.2]


async def test_head_is_answered_as_get_without_a_body(client: httpx.AsyncClient) -> None:
    for path in ("/v2/health/ready", "/v2/health/live", "/version", "/", "/docs", "/metrics"):
        head, whole = await client.head(path), await client.get(path)
        assert (head.status_code, head.content) == (200, b""), path
        assert head.headers["content-type"] == whole.headers["content-type"]
    assert (await client.head("/nope")).status_code == 404


async def test_options_tells_the_methods_of_a_route(client: httpx.AsyncClient) -> None:
    for path, methods in (
        ("/v2/health/ready", "GET, HEAD, OPTIONS"),
        ("/predict", "OPTIONS, POST"),
        ("/v2/models/iris/infer", "OPTIONS, POST"),
        ("/v2/repository/index", "OPTIONS, POST"),
    ):
        answer = await client.options(path)
        assert (answer.status_code, answer.headers["allow"], answer.content) == (204, methods, b"")


async def test_pages_of_named_origins_may_call_the_service(iris_dir: Path) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    async with served(Settings(dir=iris_dir, cors=("https://app.example.com",))) as (client, _):
        for origin, allowed in (("https://app.example.com", True), ("https://other.example.com", False)):
            asked = await client.options("/predict", headers=preflight | {"Origin": origin})
            answer = await client.post("/predict", json={"instances": [ROW]}, headers={"Origin": origin})
            assert (asked.headers.get("access-control-allow-origin") == origin) is allowed
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
            assert answer.status_code == 200
        refused = await client.post("/predict", json={}, headers={"Origin": "https://app.example.com"})
        assert refused.status_code == 422
        assert refused.headers["access-control-allow-origin"] == "https://app.example.com"
        assert "Inference-Header-Content-Length" in refused.headers["access-control-expose-headers"]


async def test_without_the_setting_no_other_origin_may(client: httpx.AsyncClient) -> None:
    answer = await client.post("/predict", json={"instances": [ROW]}, headers={"Origin": "https://a.example.com"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_large_answers_are_compressed_for_callers_who_take_it(iris_dir: Path) -> None:
    async with served(Settings(dir=iris_dir)) as (client, _):
        document = {"instances": [ROW] * 500}
        packed = await client.post("/predict", json=document, headers={"Accept-Encoding": "br, gzip;q=0.8"})
        plain = await client.post("/predict", json=document, headers={"Accept-Encoding": "identity"})
        small = await client.post("/predict", json={"instances": [ROW]}, headers={"Accept-Encoding": "gzip"})
        manifest = await client.get("/manifest", headers={"Accept-Encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.headers["vary"]) == ("gzip", "Accept-Encoding")
    assert packed.json() == plain.json()
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in small.headers
    assert manifest.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < len(plain.content) / 10


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        (b"gzip", True),
        (b"deflate, gzip;q=1.0", True),
        (b"*", True),
        (b"", False),
        (b"br", False),
        (b"gzip;q=0", False),
        (b"GZIP", True),
    ],
)
def test_accept_encoding_is_read_as_http_says(header: bytes, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@pytest.mark.slow
def test_behind_a_path_both_ways_of_proxies_work_and_the_document_names_the_path(iris_dir: Path) -> None:
    """A real server: some proxies take the path away, and others leave it."""
    with running(iris_dir, "--root-path", "/models/iris") as service:
        for prefix in ("", "/models/iris"):
            base = service.url + prefix
            assert httpx.post(f"{base}/predict", json={"instances": [ROW]}).status_code == 200
            assert httpx.post(f"{base}/v2/models/iris/infer", json={}).status_code == 400
            assert httpx.get(f"{base}/version").json()["name"] == "iris"
            assert httpx.get(f"{base}/static/docs.js").status_code == 200
            assert httpx.head(f"{base}/v2/health/ready").headers["content-length"] != "0"
            document = httpx.get(f"{base}/openapi.json").json()
            assert document["servers"][0]["url"] == "/models/iris"


async def test_triton_clients_get_configuration_index_and_statistics(client: httpx.AsyncClient) -> None:
    tensor = {"name": "features", "shape": [2, 4], "datatype": "FP64", "data": [*ROW, *ROW]}
    assert (await client.post("/v2/models/iris/infer", json={"inputs": [tensor]})).status_code == 200
    assert (await client.post("/v2/models/iris/infer", json={"inputs": []})).status_code == 400
    configuration = (await client.get("/v2/models/iris/config")).json()
    assert configuration["input"] == [{"name": "features", "data_type": "TYPE_FP64", "dims": [4]}]
    assert {one["name"]: one["data_type"] for one in configuration["output"]}["label"] == "TYPE_STRING"
    (indexed,) = (await client.post("/v2/repository/index", json={})).json()
    assert (indexed["name"], indexed["state"]) == ("iris", "READY")
    for path in ("/v2/models/stats", "/v2/models/iris/stats"):
        (counted,) = (await client.get(path)).json()["model_stats"]
        assert counted["inference_count"] == 2
        assert counted["inference_stats"]["success"]["count"] == 1
        assert counted["inference_stats"]["fail"]["count"] == 1
    assert (await client.get("/v2/models/other/config")).status_code == 404

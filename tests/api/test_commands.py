"""Commands in the live release, streamed as they run."""

import json

import httpx

from tests.desk import Desk


async def test_a_command_streams_its_output_and_its_exit_code(daemon: Desk, client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/apps/iris/exec", json={"command": ["échec"]})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(line["output"] for line in lines[:-1]) == "échec"
    assert lines[-1] == {"exit_code": 7}
    assert (await client.post("/api/v1/apps/iris/exec", json={"command": []})).status_code == 422


async def test_typed_input_reaches_the_command_at_the_terminal(daemon: Desk, client: httpx.AsyncClient) -> None:
    asked = {"command": ["sh"], "terminal": {"rows": 33, "columns": 99}}
    async with client.stream("POST", "/api/v1/apps/iris/exec", json=asked) as response:
        lines = response.aiter_lines()
        path = f"/api/v1/terminals/{json.loads(await anext(lines))['terminal']}"
        assert json.loads(await anext(lines)) == {"output": "33x99 "}
        for body, said in (({"typed": "Y2Fmw6k="}, "café"), ({"size": {"rows": 20, "columns": 70}}, "20x70 ")):
            assert (await client.post(path, json=body)).status_code == 204
            assert json.loads(await anext(lines)) == {"output": said}
        assert (await client.post(path, json={"typed": "cQ=="})).status_code == 204
        assert json.loads(await anext(lines)) == {"exit_code": 5}
    assert (await client.post(path, json={"typed": "cQ=="})).status_code == 404
    assert "typed: expected Base64" in (await client.post(path, json={"typed": "*"})).text
    assert daemon.services.terminals == {}

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from deployd.bringup.api import EngineApi
from deployd.bringup.engine import LABEL
from tests.testbed.images import forget_old


@pytest.mark.parametrize(("labels", "pruned"), [([LABEL], True), (["theirs=yes"], False), ([], False), (None, False)])
def test_old_layers_and_networks_are_removed_only_from_an_engine_that_was_started_for_the_tests(
    labels: list[str] | None, pruned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(EngineApi, "get", lambda _self, path: {"/info": {"Labels": labels}}[path])
    monkeypatch.setattr(EngineApi, "post", lambda _self, path: asked.append(path))
    forget_old(EngineApi("unix:///nowhere"))
    given = {urlsplit(path).path: json.loads(parse_qs(urlsplit(path).query)["filters"][0]) for path in asked}
    expected = {"/images/prune": {"dangling": ["true"], "until": ["1h"]}, "/networks/prune": {"until": ["1h"]}}
    assert given == (expected if pruned else {})

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deployd.bringup.api import EngineApi
from deployd.bringup.engine import LABEL
from tests.testbed.images import forget_old


@pytest.mark.parametrize(("labels", "pruned"), [([LABEL], True), (["theirs=yes"], False), ([], False), (None, False)])
def test_old_layers_are_removed_only_from_an_engine_that_was_started_for_the_tests(
    labels: list[str] | None, pruned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(EngineApi, "get", lambda _self, path: {"/info": {"Labels": labels}}[path])
    monkeypatch.setattr(EngineApi, "post", lambda _self, path: asked.append(path))
    forget_old(EngineApi("unix:///nowhere"))
    filters: list[Any] = [json.loads(parse_qs(urlsplit(path).query)["filters"][0]) for path in asked]
    assert filters == [{"dangling": ["true"], "until": ["12h"]}] * pruned
    assert all(urlsplit(path).path == "/images/prune" for path in asked)

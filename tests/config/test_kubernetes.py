"""What [app.kubernetes] takes, and what it says of the rest."""

from typing import Any

import pytest

from deployd.config.file import parse
from deployd.config.kubernetes import volume_parts
from deployd.errors import ConfigError


def fault(**kubernetes: Any) -> str:
    app = {"name": "iris", "repo": "https://example.com/a/iris", "branch": "main", "target": "kubernetes"}
    with pytest.raises(ConfigError) as refused:
        parse({"registry": {"url": "r.example.com"}, "app": [{**app, "kubernetes": kubernetes}]})
    return refused.value.message


@pytest.mark.parametrize(
    "volume", ["data:/data", "pvc:/data", "pvc/data:data", "pvc/data", "disk/x:/x", "pvc/a:/a:rw", ""]
)
def test_a_volume_of_no_known_kind_is_refused(volume: str) -> None:
    assert 'app.iris.kubernetes.volumes.0: expected "pvc/NAME:/path"' in fault(volumes=[volume])


@pytest.mark.parametrize(
    ("volume", "parts"),
    [
        ("pvc/data:/data:ro", ("pvc", "data", "/data", True)),
        ("empty:/tmp", ("empty", "", "/tmp", False)),
        ("memory/1Gi:/dev/shm", ("memory", "1Gi", "/dev/shm", False)),
    ],
)
def test_a_volume_names_its_kind(volume: str, parts: tuple[str, str, str, bool]) -> None:
    assert volume_parts(volume) == parts


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gpus": -1}, "gpus: must be at least 0"),
        ({"tolerations": [{"operator": "Exists", "value": "x"}]}, "tolerations.0: operator = "),
        ({"tolerations": [{"value": "x"}]}, "tolerations.0: needs a key"),
        ({"tolerations": [{"key": "x", "effect": "Never"}]}, 'tolerations.0.effect: expected "NoSchedule"'),
        ({"patch": "../x.yaml"}, "patch: expected a path inside the repository"),
        ({"node_selector": {"gpu": True}}, 'node_selector.gpu: write it in quotes: "true"'),
    ],
)
def test_a_wrong_option_is_refused_in_our_words(settings: dict[str, Any], words: str) -> None:
    assert f"app.iris.kubernetes.{words}" in fault(**settings)


def test_keys_of_the_pod_template_are_refused_for_a_foreign_deployment() -> None:
    said = fault(create=False, gpus=1, env_secrets={"A": "env:A"})
    assert "app.iris.kubernetes: env_secrets, gpus: with create = false deployd only sets the image" in said

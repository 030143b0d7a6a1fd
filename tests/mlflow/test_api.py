"""What is sent to an MLflow server."""

import pytest

from deployd.config.models import Model
from deployd.errors import ConfigError
from deployd.mlflow.api import MlflowApi


@pytest.mark.parametrize("token", ["geheim-ü", "sec\nret", "secret ", "sec\tret", "\x7fsecret"])
async def test_a_token_that_no_header_can_hold_is_refused_and_not_told(
    token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", token)
    model = Model(registry="http://127.0.0.1:9", name="iris", alias="champion", token="env:TOKEN")
    api = MlflowApi()
    with pytest.raises(ConfigError) as refused:
        await api.by_alias("iris", model)
    await api.close()
    assert (
        refused.value.message
        == "app.iris.model.token: what env:TOKEN holds is no token: a character in it cannot be sent"
    )

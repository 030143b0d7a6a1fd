"""The part of `deployd check` about registered models: each registry answers, and the alias points to a version with files."""

import asyncio

from deployd.check.finding import Finding
from deployd.config.app import App
from deployd.config.daemon import Config
from deployd.errors import DeploydError
from deployd.mlflow.api import MlflowApi
from deployd.starter.repository import EXAMPLE_REGISTRY


async def registered(config: Config) -> list[Finding]:
    """What each app with `[app.model]` would be deployed with."""
    api = MlflowApi()
    try:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(_asked(api, app)) for app in config.app if app.model is not None]
    finally:
        await api.close()
    return [one.result() for one in asked]


async def _asked(api: MlflowApi, app: App) -> Finding:
    assert app.model is not None  # noqa: S101 - see above
    what, model = f"app {app.name}", app.model
    if model.registry == EXAMPLE_REGISTRY:
        detail = f"app.{app.name}.model.registry: {model.registry} is still the example"
        return Finding(what, "wrong", detail, "write the address of your MLflow server", in_config=True)
    try:
        version = await api.by_alias(app.name, model)
        files = await api.listed(app.name, model, version, "")
    except DeploydError as exc:
        return Finding.fault(what, exc)
    said = f"{model.name}@{model.alias} of {model.registry} is {version}"
    if not files:
        return Finding(what, "wrong", f"{said}, which has no files", "log the model again")
    return Finding(what, "ok", f"{said}: its files go into {model.into}/ of the build context")

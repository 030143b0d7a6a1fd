"""Apps, deploys and images for tests on a real engine: one image that says whatever commit its environment names."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deployd.bringup import images
from deployd.bringup.engine import Engine
from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.goal import Trigger
from deployd.status import Status

WEB = "deployd-test/web"
NAME = f"web-{uuid.uuid4().hex[:8]}"
"""The app's name, this run's own: an engine has but one container of a name."""
_APP = (Path(__file__).parent / "web" / "app.py").read_bytes()
_DOCKERFILE = (
    f'FROM {images.PYTHON}\nCOPY app.py /srv/app.py\nWORKDIR /srv\nENV COMMIT=unknown\nCMD ["python", "-u", "app.py"]\n'
)


def build(engine: Engine, tag: str = "base", extra: str = "") -> Image:
    """The image of tests/targets/docker/web; `extra` are more lines of its Dockerfile."""
    api = engine.api(timeout=120)
    images.build(api, f"{WEB}:{tag}", _DOCKERFILE + extra, {"app.py": _APP})
    return Image(WEB, tag, str(api.get(f"/images/{WEB}:{tag}/json")["Id"]))


def commit(number: int) -> str:
    """The commit of a deploy, as its release says it."""
    return f"{number:040x}"


def an_app(
    number: int,
    *,
    name: str = NAME,
    listen: int | None = None,
    ready: dict[str, Any] | None = None,
    gateway: dict[str, Any] | None = None,
    **docker: Any,
) -> App:
    """The app as it is configured when deploy `number` runs: its release says that number's commit."""
    env = {"COMMIT": commit(number), **docker.pop("env", {})}
    return App.model_validate(
        {
            "name": name,
            "repo": "https://git.example.com/acme/iris.git",
            "branch": "main",
            "docker": {"stop_timeout": "2s", "drain": "10s", "env": env, **docker},
            "gateway": {**({"listen": listen} if listen else {"hosts": [f"{name}.example.com"]}), **(gateway or {})},
            "ready": {"path": "/ready", "within": "20s", "every": "20ms", "commit_path": "/version", **(ready or {})},
        }
    )


def a_deploy(number: int, image: Image | None, *, app: str = NAME) -> Deploy:
    """A deploy on its way."""
    return Deploy(
        app, number, commit(number), "refs/heads/main", Trigger("push"), Status.CHECKING, datetime.now(UTC), image=image
    )

"""Apps and deploys for the Kubernetes tests."""

from datetime import UTC, datetime
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy, Image
from deployd.goal import Trigger
from deployd.status import Status

COMMIT = "c0ffee" + "0" * 34
DIGEST = "sha256:" + "ab" * 32
IMAGE = Image("registry.example.com/iris", COMMIT, "sha256:id", DIGEST)


def an_app(**kubernetes: Any) -> App:
    """`iris` on Kubernetes; keyword arguments are keys of `[app.kubernetes]`, those with an `app_` before them of `[[app]]`."""
    own = {key.removeprefix("app_"): kubernetes.pop(key) for key in list(kubernetes) if key.startswith("app_")}
    return App.model_validate(
        {
            "name": "iris",
            "repo": "https://example.com/acme/iris.git",
            "branch": "main",
            "target": "kubernetes",
            "kubernetes": {"namespace": "ml", **kubernetes},
            **own,
        }
    )


def a_deploy(number: int = 7, commit: str = COMMIT, **more: Any) -> Deploy:
    return Deploy(
        app="iris",
        number=number,
        commit=commit,
        ref="refs/heads/main",
        trigger=Trigger("push"),
        status=Status.BUILDING,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        **{"subject": "Grow a deeper tree", **more},
    )

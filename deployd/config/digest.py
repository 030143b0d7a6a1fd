"""Digests of an app's config, to tell whether a release was made with the present one. Pure.

What is at its default does not count, so that a newer deployd with more keys finds no difference. Secrets count by their
references only.
"""

import hashlib
import json
from typing import Any

from deployd.config.app import App
from deployd.domain import Deploy

_NOT_IN_THE_CONTAINER = {"drain", "start"}
_IN_THE_PROBES = {"path", "within", "host", "headers"}
_NOT_IN_THE_POD = {"kubeconfig", "context", "progress_deadline", "patience", "bake", "create"}


def release_digest(app: App) -> str:
    """A digest of all settings that an app's container or Deployment is made from, apart from its image."""
    if app.target == "docker":
        return _digest(
            [app.target, app.docker.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_IN_THE_CONTAINER)]
        )
    if app.kubernetes is None or not app.kubernetes.create:
        return _digest([app.target])  # deployd sets only the image
    settings = app.kubernetes.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_IN_THE_POD)
    probes = app.ready.model_dump(mode="json", exclude_defaults=True, include=_IN_THE_PROBES)
    return _digest([app.target, settings, probes])


def made_with(deploy: Deploy, app: App) -> bool:
    """Whether a release was made with the present config, as far as that is known."""
    return deploy.config in {None, release_digest(app)}


def app_digest(app: App) -> str:
    """A digest of everything that is configured for an app."""
    return _digest(app.model_dump(mode="json", exclude_defaults=True))


def _digest(settings: Any) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

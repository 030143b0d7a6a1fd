"""The daemon that the environment selects: this machine's own, unless DEPLOYD_URL or DEPLOYD_TOKEN are set."""

import os
from collections.abc import Callable

from deployd.address import PUBLIC_URL
from deployd.client import Client
from deployd.errors import Unavailable

PATIENCE_SECONDS = 60.0


def daemon(away: Callable[[Unavailable], object] | None = None, patience: float = PATIENCE_SECONDS) -> Client:
    """A client for it. `away` is called when it goes away while it is followed; `patience` is for how many seconds it may be
    away."""
    token = os.environ.get("DEPLOYD_TOKEN") or None
    url = os.environ.get("DEPLOYD_URL") or (PUBLIC_URL if token else None)
    return Client(url, token, patience=patience, away=away)

"""The messages that an engine streams while it builds, pulls or pushes: one JSON object a line. Pure."""

from collections.abc import Mapping
from typing import Any

Message = Mapping[str, Any]


def fault_in(message: Message) -> str:
    """Why it failed, by this message; empty when the message tells of no failure.

    `error` is the older field: today's engines may send `errorDetail` alone, and Podman sends either.
    """
    if "error" not in message and "errorDetail" not in message:
        return ""
    detail = message.get("errorDetail")
    said = detail.get("message") if isinstance(detail, dict) else None
    return str(said or message.get("error") or "the engine gives no reason").strip()

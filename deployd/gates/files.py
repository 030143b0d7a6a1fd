"""The files that gates read: from the commit, else from the image of the candidate, or by an absolute path from the host."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from deployd.errors import RolloutFailed
from deployd.ports.gate import Candidate
from deployd.ports.source import Context

ImageReader = Callable[[Candidate, str], Awaitable[bytes | None]]
"""Reads a file of a candidate's image by its path from the working directory; None when it does not exist."""


async def read(path: str, key: str, candidate: Candidate, context: Context | None, image: ImageReader | None) -> bytes:
    """The content of `path`, which the config names at `key`; RolloutFailed when there is none."""
    if path.startswith("/"):
        try:
            return await asyncio.to_thread(Path(path).read_bytes)
        except OSError as exc:
            raise RolloutFailed(f"{path} on this host: {exc.strerror or exc}", hint=f"check {key}") from exc
    if context is not None and (content := await context.read(path)) is not None:
        return content
    if image is not None and (content := await image(candidate, path)) is not None:
        return content
    raise RolloutFailed(f"{path} is neither in the commit nor in the image", hint=f"check {key}")

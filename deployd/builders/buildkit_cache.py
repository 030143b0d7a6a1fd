"""Trims the cache of a BuildKit, by the option that both the docker client and the BuildKit behind it have.

`--max-used-space` needs buildx 0.19 and BuildKit 0.17 (Docker Engine 28). For older pairs `--keep-storage` means the same.
"""

import logging
import re
from collections.abc import Mapping, Sequence

from deployd.builders.docker_cli import Client, Ended, no_answer, run
from deployd.builders.remote_buildkit import remote_name

logger = logging.getLogger(__name__)

_UNITS = {"B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "TB": 1000**4}
_FREED = re.compile(r"Total(?: reclaimed space)?:\s*([\d.]+)\s*([kMGT]?B)")
_LACKING = re.compile(r"unknown flag|is required for|unknown command", re.IGNORECASE)

_TODAY, _BEFORE = "--max-used-space", "--keep-storage"


class BuildkitCache:
    """The cache of the BuildKit at `address` (None: the engine's own), asked through `client`."""

    def __init__(self, client: Client, address: str | None) -> None:
        self._client = client
        self._address = address
        self._option = _TODAY if client.buildx else _BEFORE

    async def trim(self, limit_bytes: int, environment: Mapping[str, str]) -> int:
        """Trim all of it to `limit_bytes`; the bytes freed. Unavailable with the client's reason."""
        ended = await self._prune(limit_bytes, environment)
        if ended.code and self._option == _TODAY and _LACKING.search(ended.output):
            why = no_answer(ended.output).message
            logger.info(
                "The build cache is trimmed with %s, which newer docker clients call deprecated: %s", _BEFORE, why
            )
            self._option = _BEFORE
            ended = await self._prune(limit_bytes, environment)
        if ended.code:
            raise no_answer(ended.output)
        return freed(ended.output)

    async def _prune(self, limit_bytes: int, environment: Mapping[str, str]) -> Ended:
        return await run(prune_command(self._client, self._address, self._option, limit_bytes), environment)


def prune_command(client: Client, address: str | None, option: str, limit_bytes: int) -> Sequence[str]:
    """The command line that shrinks the cache to `limit_bytes`."""
    where = ["buildx"] if client.buildx else ["builder"]
    builder = ["--builder", remote_name(address)] if address else []
    return [str(client.path), *where, "prune", "--force", "--all", option, str(limit_bytes), *builder]


def freed(output: str) -> int:
    """The bytes that a prune says it has freed."""
    match = _FREED.search(output)
    return round(float(match[1]) * _UNITS[match[2]]) if match else 0

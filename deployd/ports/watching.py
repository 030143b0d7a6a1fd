"""The data that a target gives to the watch of a release."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Life:
    """A container or pod of a release. `starts` differs from one start of it to the next; `ended`: why it does not run, such as
    "exited with code 1", empty when it runs; `before`: the same of its last end, where the target remembers that."""

    name: str
    starts: str
    ended: str = ""
    before: str = ""


Lives = Mapping[str, Life]
"""Each life by the engine's id of the container, or the uid of the pod."""

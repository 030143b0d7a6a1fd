"""The interface of a forge: the paths of its webhooks, the check of their signature, and the parser of their events.

Pure: bytes and headers in, values out. `headers` maps lower-case names to values, repeated ones joined by a comma, so that
what must be there once fails its pattern when it comes twice.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from deployd.delivery import Delivery, Ignored, Moved, Ping, Proposal, Push, Pushes

Headers = Mapping[bytes, bytes]
Said = Push | Pushes | Proposal | Moved | Ping | Ignored


class Forge(Protocol):
    """One forge, or a registry of models, with the secrets by which it signs. Without any, nothing is genuine."""

    name: ClassVar[str]
    paths: ClassVar[Sequence[str]]
    """The paths of its webhook, our own first, without a slash at the end."""
    forms: ClassVar[bool]
    """Whether the JSON may arrive in a form that is signed as a whole."""
    doubt: ClassVar[str]
    """A hint for when a delivery is not genuine."""

    def __init__(self, secrets: Sequence[bytes]) -> None: ...

    def verify(self, raw: bytes, headers: Headers) -> bool:
        """Whether `raw` comes from someone who knows one of the secrets. All are tried, in constant time."""
        ...

    def delivery(self, headers: Headers) -> Delivery:
        """The GUID and event name of a verified delivery; DeliveryRejected 400 when one is missing or odd."""
        ...

    def parse(self, event: str, text: bytes) -> Said:
        """The meaning of the verified JSON of that event; DeliveryRejected 400 when it has none."""
        ...

"""The JSON of a verified delivery. Types are exact: no bool is an int here, and no number a string. Pure."""

from typing import Annotated, TypeVar

from msgspec import DecodeError, Meta, Struct, json

from deployd.config.remotes import repository_name
from deployd.delivery import Ignored
from deployd.errors import DeliveryRejected
from deployd.wording import plain

Sha = Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")]
NOWHERE = Ignored("the push does not say where its repository is")

_LONGEST = 500

S = TypeVar("S", bound=Struct)


class AnyEvent(Struct):
    """Any event: an object of which nothing is read."""


def read(text: bytes, event: str, kind: type[S], header: str) -> S:
    """The object in `text`, in the form of `event`, which `header` names; DeliveryRejected 400 when it has another form.

    Of a key that is there twice the last counts: the signature vouches for whoever wrote it.
    """
    try:
        return json.decode(text, type=kind)
    except (DecodeError, UnicodeDecodeError, RecursionError) as exc:
        hint = f"the body must be what is sent with the event that {header} names"
        said = plain(exc) if isinstance(exc, DecodeError) else "it is not UTF-8, or nested too deeply"
        raise DeliveryRejected(400, f"the body does not look like a {event} event: {said}", hint=hint) from exc


def names(*urls: str | None) -> tuple[str, ...]:
    """The names of a repository by its addresses, each once."""
    found = (repository_name(url) for url in urls if url and len(url) <= _LONGEST and url.isprintable())
    return tuple(dict.fromkeys(name for name in found if name is not None))

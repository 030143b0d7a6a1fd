"""The acts of people on an app, apart from its deploys. Plain frozen data, as in domain.py."""

from datetime import datetime
from typing import Literal

from msgspec import Struct

Done = Literal["paused", "resumed", "scaled", "redelivered"]


class Act(Struct, frozen=True):
    """One act of a person. `by`: who did it, where that is known. `detail`: the number of pods that it was scaled to, the GUID of
    the delivery."""

    at: datetime
    by: str | None
    done: Done
    detail: str = ""


def told(by: str | None, done: str, detail: str = "") -> str:
    """The act as a clause, such as `ada resumed it`, `ada scaled it to 3 pods`, `ada redelivered 72d3162e`."""
    match done:
        case "scaled":
            what = f"scaled it to {detail} pod{'' if detail == '1' else 's'}"
        case "redelivered":
            what = f"redelivered {detail}"
        case _:
            what = f"{done} it"
    return f"{by or 'somebody'} {what}"

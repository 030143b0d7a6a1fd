"""The last lines of a deploy's log, as the page shows them before its script loads the whole log."""

from dataclasses import dataclass
from urllib.parse import urlencode

from deployd.api.services import Services
from deployd.domain import Deploy
from deployd.logs.sgr import plain

_LINES = 500
_MOST = 512 * 1024


@dataclass(frozen=True, slots=True)
class LastLines:
    """`text` are the lines from `first` on (from 1), without colours; `size` is that of the whole log."""

    text: str
    first: int
    size: int


async def last_lines(services: Services, deploy: Deploy) -> LastLines:
    """The last lines of the log of a deploy, of not more than half a mebibyte."""
    lines = await services.logs.lines(deploy.app, deploy.number)
    first = max(1, lines.count - _LINES + 1)
    start = lines.start_of(first)
    if lines.size - start > _MOST:
        first = min(lines.count, lines.line_at(lines.size - _MOST) + 1)
        start = max(lines.start_of(first), lines.size - _MOST)
    blocks = [block async for block in services.logs.read(deploy.app, deploy.number, start, lines.size)]
    return LastLines(plain(b"".join(blocks).decode("utf-8", "replace")), first, lines.size)


def follows(deploy: Deploy, log: LastLines | None) -> str:
    """The query of the event stream, for the app's events and the new lines of the log."""
    asked = {"app": deploy.app} | ({"log": deploy.name, "from": str(log.size)} if log is not None else {})
    return f"?{urlencode(asked, safe='/')}"

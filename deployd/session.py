"""The login of a browser: which token it was made with, and how long it lasts. Plain frozen data and one pure rule."""

from datetime import datetime, timedelta

from msgspec import Struct

IDLE, WHOLE = timedelta(hours=8), timedelta(days=7)


class Session(Struct, frozen=True):
    """A browser that is logged in. `token` is the SHA-256 of the token, so that removing the token ends its logins."""

    token: str
    began_at: datetime
    seen_at: datetime

    def lasts(self, now: datetime) -> bool:
        """Whether it is still good: it ends when unused for a while, and in any case after a week."""
        return now - self.seen_at < IDLE and now - self.began_at < WHOLE

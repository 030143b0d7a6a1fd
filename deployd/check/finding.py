"""The result of one check of `deployd check`."""

from dataclasses import dataclass
from typing import Literal

from deployd.errors import ConfigError, DeploydError

Verdict = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its result. `in_config`: the config file has to change."""

    what: str
    verdict: Verdict
    detail: str
    hint: str = ""
    in_config: bool = False

    @classmethod
    def fault(cls, what: str, exc: DeploydError) -> "Finding":
        """An expected failure as a finding."""
        return cls(what, "wrong", exc.message, exc.hint, in_config=isinstance(exc, ConfigError))

"""Reads the texts of a cluster's conditions, events and refusals. Pure."""

import re

_DENIED = re.compile(r"denied (the )?request|violates PodSecurity")


def plain(text: object) -> str:
    """A message without the backslashes of quotes inside of quotes, which programs put around each other's words."""
    return re.sub(r'\\+(["\'])', r"\1", str(text or "")).replace("\\\\", "\\").strip()


def by_a_policy(text: str) -> bool:
    """Whether the text is the refusal of a policy or an admission webhook, so that trying again is pointless."""
    return _DENIED.search(text) is not None

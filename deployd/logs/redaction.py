"""Keeps out of a log: secrets in every usual encoding, and control sequences that act on the reader's terminal.

Pure. Text comes in pieces of any length, so a possible start of a secret is held back until the next piece comes. Each line of
a secret of several lines is masked. Anything shorter than four characters is not: masking it would mask half of the log.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 4

# The characters that Python, browsers and URL libraries do not quote; each has its own set.
_UNQUOTED = ("", "/", "!*'()", "!$&'()*+,;=", "!$&'()*+,;=:@/")
_ESCAPED = re.compile("%[0-9A-F]{2}")

_NOISE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # colours, cursor movement
    "|\x1b\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)"  # window titles, links
    "|\x1b[ -/]*[0-~]"
    "|\r\n|\r"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_UNFINISHED = re.compile("(?:\x1b(?:\\[[0-?]{0,32}[ -/]{0,8}|\\][^\x07\x1b\n]{0,200}\x1b?|[ -/]{0,8})|\r)\\Z")


class Redactor:
    """A set of secrets; immutable, so that streams can share one."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = frozenset(secrets)
        forms = set(chain.from_iterable(_forms(secret) for secret in self._secrets))
        self._forms = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms)))
        self._by_first: dict[str, list[str]] = {}
        for form in self._forms:
            self._by_first.setdefault(form[0], []).append(form)

    def including(self, secret: str) -> "Redactor":
        """A redactor that masks `secret` too."""
        return self if secret in self._secrets else Redactor((*self._secrets, secret))

    def redact(self, text: str) -> str:
        """`text` with every known secret masked."""
        return self._pattern.sub(MASK, text) if self._suspicious(text) else text

    def split(self, text: str) -> tuple[str, str]:
        """`text` redacted up to where a secret may begin, and the raw rest, which belongs in front of the next piece."""
        done, hold = 0, self._unfinished(text, 0)
        parts = []
        for match in self._pattern.finditer(text) if self._suspicious(text) else ():
            if match.start() >= hold:
                break
            parts += [text[done : match.start()], MASK]
            done = match.end()
            hold = max(hold, self._unfinished(text, done)) if done > hold else hold
        return "".join((*parts, text[done:hold])), text[hold:]

    def _suspicious(self, text: str) -> bool:
        # Substring search is many times faster than the alternation, and nearly no text holds a secret.
        return any(form in text for form in self._forms)

    def _unfinished(self, text: str, start: int) -> int:
        """The first position from `start` on at which the rest of `text` is the beginning of a secret; else its length."""
        if not self._forms:
            return len(text)
        first = max(start, text.rfind("\n") + 1, len(text) - len(self._forms[0]) + 1)
        for position in range(first, len(text)):
            rest = text[position:]
            for form in self._by_first.get(text[position], ()):
                if len(form) > len(rest) and form.startswith(rest):
                    return position
        return len(text)


class SafeStream:
    """Takes one text in pieces, and returns it without control sequences and secrets."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._raw = ""
        self._held = ""

    def feed(self, text: str) -> str:
        """Add a piece; return what is safe to write now."""
        raw = self._raw + text
        unfinished = _UNFINISHED.search(raw, max(0, len(raw) - 256))
        cut = unfinished.start() if unfinished else len(raw)
        self._raw = raw[cut:]
        safe, self._held = self.redactor.split(self._held + _NOISE.sub(_without_noise, raw[:cut]))
        return safe

    def end(self) -> str:
        """What was held back; masked when it is the beginning of a secret and not very short."""
        safe, held = self.redactor.split(self._held + _NOISE.sub(_without_noise, self._raw))
        self._raw = self._held = ""
        return safe + (MASK if len(held) >= _SHORTEST else held)


def _without_noise(match: re.Match[str]) -> str:
    noise = match.group()
    if noise[0] == "\r":
        return "\n"
    return "" if noise[0] < "\xa0" else f"\\u{ord(noise):04x}"


def _forms(secret: str) -> Iterator[str]:
    """The usual encodings of a secret, none with a line break."""
    lines = [line.strip() for line in secret.splitlines()]
    for piece in {secret.strip(), *lines}:
        if len(piece) < _SHORTEST:
            continue
        spelled = {*_quoted(piece), *_encoded(piece.encode("utf-8", "surrogateescape"))}
        yield from (form for form in {piece, *spelled} if len(form) >= _SHORTEST and "\n" not in form)


def _quoted(piece: str) -> Iterator[str]:
    yield json.dumps(piece)[1:-1]
    yield json.dumps(piece, ensure_ascii=False)[1:-1]
    for quoted in (quote_plus(piece, errors="replace"), *(quote(piece, safe, errors="replace") for safe in _UNQUOTED)):
        yield quoted
        yield _ESCAPED.sub(lambda match: match.group().lower(), quoted)


def _encoded(piece: bytes) -> Iterator[str]:
    """Base64 of the secret alone, and inside a longer text (`user:secret`): there only characters that encode nothing else."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(piece).decode()
        yield whole
        yield whole.rstrip("=")
        for before in range(3):
            text = encode(b"\0" * before + piece).decode()
            yield text[-(-before * 8 // 6) : (before + len(piece)) * 8 // 6]

"""Keeps out of a log: secrets in every usual encoding, and control sequences that do more than colour the text.

Pure. Secrets are looked for in the text without its colours, so that none hides one. Text comes in pieces of any length, so a
possible start of a secret is held back until the next piece comes. Each line of a secret of several lines is masked. Anything
shorter than four characters is not: masking it would mask half of the log.
"""

import base64
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from urllib.parse import quote, quote_plus

from deployd.logs.sgr import RESET, SEQUENCE, Style, changed, spelled

MASK = "***"
_SHORTEST = 4

# The characters that Python, browsers and URL libraries do not quote; each has its own set.
_UNQUOTED = ("", "/", "!*'()", "!$&'()*+,;=", "!$&'()*+,;=:@/")
_ESCAPED = re.compile("%[0-9A-F]{2}")

_NOISE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # cursor movement, clearing
    "|\x1b\\][^\x07\x1b\n]*(?:\x07|\x1b\\\\)"  # window titles, links
    "|\x1b[ -/]*[0-~]"
    "|\r\n|\r"
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_UNFINISHED = re.compile("(?:\x1b(?:\\[[0-?]{0,64}[ -/]{0,8}|\\][^\x07\x1b\n]{0,200}\x1b?|[ -/]{0,8})|\r)\\Z")


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

    def spans(self, text: str) -> tuple[list[tuple[int, int]], int]:
        """Where secrets stand in `text`, up to where another may begin, and that position: the rest from there belongs in front
        of the next piece."""
        found: list[tuple[int, int]] = []
        hold = self._unfinished(text, 0)
        for match in self._pattern.finditer(text) if self._suspicious(text) else ():
            if match.start() >= hold:
                break
            found.append(match.span())
            hold = max(hold, self._unfinished(text, match.end())) if match.end() > hold else hold
        return found, hold

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
    """Takes one text in pieces, and returns it without secrets, and without control sequences other than colours and styles."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self._raw = ""  # what may be the beginning of a control sequence
        self._text = ""  # without sequences; what may be the beginning of a secret stays here
        self._changes: deque[tuple[int, str]] = deque()  # of the style, by their positions in it
        self._style: Style = {}
        self._wanted = self._shown = ""  # the sequences of the style that the text has, and that was returned last

    def feed(self, text: str) -> str:
        """Add a piece; return what is safe to write now."""
        raw = self._raw + text
        unfinished = _UNFINISHED.search(raw, max(0, len(raw) - 256))
        cut = unfinished.start() if unfinished else len(raw)
        self._raw = raw[cut:]
        self._take(raw[:cut])
        return self._safe()

    def end(self) -> str:
        """The buffered rest, masked when it is the beginning of a secret and not very short; ends its style too."""
        self._take(self._raw)
        safe = self._safe()
        if self._text:
            safe += self._styled(MASK if len(self._text) >= _SHORTEST else self._text)
        if self._shown:
            safe += RESET
        self._raw = self._text = self._wanted = self._shown = ""
        self._changes.clear()
        self._style = {}
        return safe

    def _take(self, raw: str) -> None:
        """Divide into text and changes of the style."""
        if "\x1b" not in raw:
            self._text += _NOISE.sub(_without_noise, raw)
            return
        text, *more = SEQUENCE.split(raw)
        self._text += _NOISE.sub(_without_noise, text)
        for parameters, piece in zip(more[::2], more[1::2], strict=True):
            self._changes.append((len(self._text), parameters))
            self._text += _NOISE.sub(_without_noise, piece)

    def _safe(self) -> str:
        """The text up to where a secret may begin."""
        secrets, upto = self.redactor.spans(self._text)
        parts: list[str] = []
        done = 0
        for start, end in (*secrets, (upto, upto)):
            parts += self._between(done, start)
            if end > start:
                parts.append(self._styled(MASK))
                self._change_before(end)
            done = end
        self._text = self._text[done:]
        self._changes = deque((at - done, parameters) for at, parameters in self._changes)
        return "".join(parts)

    def _between(self, start: int, end: int) -> Iterator[str]:
        """The text without secrets between two positions."""
        while self._changes and self._changes[0][0] <= end:
            at = self._changes[0][0]
            yield self._styled(self._text[start:at])
            start = at
            self._change_before(at + 1)
        yield self._styled(self._text[start:end])

    def _change_before(self, position: int) -> None:
        while self._changes and self._changes[0][0] < position:
            self._style = changed(self._style, self._changes.popleft()[1])
            self._wanted = spelled(self._style) if self._style else ""

    def _styled(self, text: str) -> str:
        """`text` in the wanted style, each line by itself."""
        if not self._wanted and not self._shown:
            return text
        parts: list[str] = []
        for line in text.splitlines(keepends=True):
            words = line.removesuffix("\n")
            if words and self._shown != self._wanted:
                parts.append(self._wanted or RESET)
                self._shown = self._wanted
            parts.append(words)
            if words != line:
                parts += [RESET, "\n"] if self._shown else ["\n"]
                self._shown = ""
        return "".join(parts)


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

"""A secret is masked whatever its encoding and wherever the text is cut into pieces."""

import base64
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployd.logs.redaction import MASK, Redactor, SafeStream
from deployd.logs.sgr import plain

TOKEN = "p4ss+w/rd&ü ghp_0123456789"
KEY = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA7\nq9Zs1b/+xKw==\n-----END KEY-----\n"


def through(redactor: Redactor, *pieces: str) -> str:
    stream = SafeStream(redactor)
    return "".join([*map(stream.feed, pieces), stream.end()])


ENCODINGS = {
    "plain": TOKEN,
    "url": quote(TOKEN, safe=""),
    "url_path": quote(TOKEN),
    "url_lower_case": quote(TOKEN, safe="").lower().replace(TOKEN[9:].lower(), TOKEN[9:]),
    "form": quote_plus(TOKEN),
    "user_information": quote(TOKEN, safe="!$&'()*+,;="),
    "json": json.dumps(TOKEN)[1:-1],
    "base64": base64.b64encode(TOKEN.encode()).decode(),
    "base64_for_urls": base64.urlsafe_b64encode(TOKEN.encode()).decode(),
    "base64_after_a_user": base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode(),
    "base64_in_the_middle": base64.b64encode(f"user:{TOKEN}:more".encode()).decode(),
    "base64_at_another_offset": base64.b64encode(f"u:{TOKEN}\n".encode()).decode(),
}


@pytest.mark.parametrize("encoded", ENCODINGS.values(), ids=ENCODINGS)
def test_a_secret_is_masked_in_every_usual_encoding_wherever_it_is_cut(encoded: str) -> None:
    text = f"before {encoded} after\n"
    redactor = Redactor([TOKEN, "another secret"])
    whole = redactor.redact(text)
    assert MASK in whole
    assert whole.startswith("before ")
    assert whole.endswith(" after\n")
    inside = range(len(encoded) * 2 // 5, len(encoded) - 12)
    assert all(encoded[at : at + 8] not in whole for at in inside)
    for cut in range(len(text)):
        assert through(redactor, text[:cut], text[cut:]) == whole
    assert through(redactor, *text) == whole


def test_each_line_of_a_key_is_masked() -> None:
    shown = through(Redactor([KEY]), "key:\n    MIIEpAIBAAKCAQEA7\n", "    q9Zs1b/", "+xKw==\n", json.dumps(KEY), "\n")
    assert shown.startswith(f"key:\n    {MASK}\n    {MASK}\n")
    assert "MIIE" not in shown
    assert "q9Zs" not in shown


def test_a_secret_of_three_characters_is_not_masked() -> None:
    assert Redactor(["", "a", "abc"]).redact("abcabc") == "abcabc"


def test_the_longest_of_overlapping_secrets_is_masked() -> None:
    redactor = Redactor(["abcd", "abcdefgh"])
    assert through(redactor, "abcd", "efgh abcde\n") == f"{MASK} {MASK}e\n"


def test_only_a_possible_start_of_a_secret_is_held_back() -> None:
    stream = SafeStream(Redactor(["secret"]))
    assert stream.feed("progress: 10% se") == "progress: 10% "
    assert stream.feed("veral") == "several"


def test_a_long_beginning_of_a_secret_at_the_end_of_the_text_is_masked() -> None:
    assert through(Redactor(["0123456789"]), "token 01234567") == f"token {MASK}"
    assert through(Redactor(["0123456789"]), "token 01") == "token 01"


def test_control_sequences_but_colours_are_removed_wherever_they_are_cut() -> None:
    text = "\x1b[1;31mred\x1b[0m\x1b[2K\x1b[>4;1m\r\n10%\r20%\n\x1b]0;title\x07bell\x07 \x9b2J nul\x00 tab\t\x1b(B x\u202ey\n"
    kept = "\x1b[0;1;31mred\x1b[0m\n10%\n20%\nbell 2J nul tab\t x\\u202ey\n"
    redactor = Redactor()
    assert through(redactor, text) == kept
    for cut in range(len(text)):
        assert through(redactor, text[:cut], text[cut:]) == kept


def test_a_secret_with_a_colour_sequence_inside_is_masked() -> None:
    text = "a \x1b[32msec\x1b[1mret\x1b[0m b\n"
    kept = f"a \x1b[0;32m{MASK}\x1b[0m b\n"
    assert through(Redactor(["secret"]), text) == kept
    for cut in range(len(text)):
        assert through(Redactor(["secret"]), text[:cut], text[cut:]) == kept


def test_a_colour_that_begins_inside_a_secret_goes_on_after_it() -> None:
    assert through(Redactor(["secret"]), "sec\x1b[31mret red\n") == f"{MASK}\x1b[0;31m red\x1b[0m\n"


def test_each_line_begins_and_ends_without_a_colour() -> None:
    text = "\x1b[31mone\ntwo\n\n\x1b[32m\x1b[0mthree\n"
    kept = "\x1b[0;31mone\x1b[0m\n\x1b[0;31mtwo\x1b[0m\n\nthree\n"
    assert through(Redactor(), text) == kept
    assert through(Redactor(), *text) == kept


def test_a_colour_ends_with_the_text() -> None:
    stream = SafeStream(Redactor())
    assert stream.feed("\x1b[31mred") + stream.end() + stream.feed("plain\n") == "\x1b[0;31mred\x1b[0mplain\n"


letters = st.text("ab\n", max_size=12)


@given(st.lists(st.text("ab", min_size=4, max_size=6), max_size=3), st.lists(letters, max_size=6))
def test_redaction_does_not_depend_on_how_the_text_is_cut(secrets: list[str], pieces: list[str]) -> None:
    redactor = Redactor(secrets)
    stream = SafeStream(redactor)
    shown = "".join(map(stream.feed, pieces))
    whole = redactor.redact("".join(pieces))
    assert whole.startswith(shown)
    assert len(stream.end()) <= 5


sequences = st.sampled_from(["\x1b[31m", "\x1b[0m", "\x1b[1;4m", "\x1b[39m", "\x1b[2J", "\n", "a", "b"])


@given(st.lists(sequences, max_size=12), st.text("ab", min_size=4, max_size=5), st.integers(0, 60))
def test_masking_does_not_depend_on_colours_or_on_cuts(parts: list[str], secret: str, cut: int) -> None:
    text = "".join(parts)
    redactor = Redactor([secret])
    shown = through(redactor, text)
    assert through(redactor, text[:cut], text[cut:]) == shown
    bare = plain(text).replace("\x1b[2J", "")
    assert plain(shown) == through(redactor, bare)

"""From the bytes of a body to a JSON value; what is not JSON is a 400 that says why. Used in serving only."""

import json
import zlib
from typing import Any, NoReturn

import msgspec

from model_service.errors import RequestRejected

LARGE_BODY = 256 * 1024  # bytes; a larger body is read in a thread, and parsed only once


def _refuse_constant(name: str) -> NoReturn:
    hint = ", send null for a missing value" if name == "NaN" else ""
    raise RequestRejected(400, f"the body is not JSON: {name} is not a JSON number{hint}")


_parse_fast = msgspec.json.Decoder().decode
_strict = json.JSONDecoder(parse_constant=_refuse_constant)
_lenient = json.JSONDecoder()


def parse_json(body: bytes, *, constants: bool = False) -> Any:
    """The JSON value of a body. Raises RequestRejected 400. NaN and Infinity are not JSON; with `constants` they are numbers."""
    try:
        return _parse_fast(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if len(body) > LARGE_BODY:  # the slow parser would let no other thread run
            raise RequestRejected(400, f"the body is not JSON: {exc}") from exc
        return _parse_slowly(body, _lenient if constants else _strict)


def _parse_slowly(body: bytes, decoder: json.JSONDecoder) -> Any:
    """Parses what msgspec refused with the standard library, which takes a little more and explains faults better."""
    try:
        return decoder.decode(body.decode())
    except UnicodeDecodeError as exc:
        raise RequestRejected(400, f"the body is not UTF-8: byte {exc.start} cannot be decoded") from exc
    except RecursionError as exc:
        raise RequestRejected(400, "the body is nested too deeply") from exc
    except ValueError as exc:
        raise RequestRejected(400, f"the body is not JSON: {exc}") from exc


def decompress(body: bytes, encoding: bytes, limit: int) -> bytes:
    """The content of a body sent with Content-Encoding gzip or deflate, at most `limit` bytes. Raises RequestRejected."""
    if encoding.lower() == b"identity":
        return body
    if encoding.lower() not in (b"gzip", b"deflate"):
        raise RequestRejected(415, "Content-Encoding: expected gzip, deflate or none")
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)  # 32: gzip or zlib, as the header of the data says
    try:
        content = decompressor.decompress(body, limit + 1)
    except zlib.error as exc:
        raise RequestRejected(400, f"the body is not {encoding.decode()}: {exc}") from exc
    if len(content) > limit:
        raise RequestRejected(413, f"the body is larger than {limit} bytes once decompressed")
    if not decompressor.eof:
        raise RequestRejected(400, "the compressed body is cut short")
    return content

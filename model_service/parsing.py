"""From a request's bytes to a JSON value; what is no JSON is a 400 that says why. Used in serving only."""

import json
from typing import Any, NoReturn

import orjson

from model_service.errors import RequestRejected

LARGE_BODY = 256 * 1024  # bytes; what is larger is read beside the event loop, and only once


def _refuse_constant(name: str) -> NoReturn:
    raise RequestRejected(400, f"the body is not JSON: {name} is not a JSON number")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def parse_json(body: bytes) -> Any:
    """The JSON value of a body. Raises RequestRejected 400; NaN and Infinity are not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        if len(body) > LARGE_BODY:  # the slow parser lets no other thread run meanwhile
            raise RequestRejected(400, f"the body is not JSON: {exc}") from exc
        return _parse_slowly(body)


def _parse_slowly(body: bytes) -> Any:
    """What orjson refuses: with the standard library, which takes a little more and says better what is wrong."""
    try:
        return _decoder.decode(body.decode())
    except UnicodeDecodeError as exc:
        raise RequestRejected(400, f"the body is not UTF-8: byte {exc.start} cannot be decoded") from exc
    except RecursionError as exc:
        raise RequestRejected(400, "the body is nested too deeply") from exc
    except ValueError as exc:
        raise RequestRejected(400, f"the body is not JSON: {exc}") from exc

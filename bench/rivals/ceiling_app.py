"""The ceiling: an ASGI callable that reads the body and answers 18 fixed bytes."""

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"18")],
}
_BODY = {"type": "http.response.body", "body": b'{"classes": [0, 1]'}


async def app(scope, receive, send):
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)

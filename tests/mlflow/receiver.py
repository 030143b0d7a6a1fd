"""What receives a webhook in a test, verifies it as the door does, and says what it told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue

from deployd.forges.mlflow import MLflow

Told = Queue[tuple[bool, str, str]]


@contextmanager
def receiver(secret: str) -> Iterator[tuple[str, Told]]:
    """Its address, and of each delivery whether it is genuine, the model and the alias."""
    told: Told = Queue()
    forge = MLflow([secret.encode()])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower().encode(): value.encode() for name, value in self.headers.items()}
            genuine = forge.verify(raw, headers) and bool(forge.delivery(headers).guid)
            data = json.loads(raw)["data"]
            self.send_response(202)
            self.end_headers()
            told.put((genuine, data["name"], data["alias"]))

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", told
        finally:
            server.shutdown()
            serving.join()

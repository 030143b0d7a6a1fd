"""LitServe: one worker, one API server."""

import os
import pickle
from pathlib import Path

import litserve as ls


class Iris(ls.LitAPI):
    def setup(self, _device: str) -> None:
        self.model = pickle.loads(Path(os.environ["RIVAL_DIR"], "model.pkl").read_bytes())

    def decode_request(self, request):
        return request["feature"]

    def predict(self, feature):
        return self.model.predict(feature).tolist()

    def encode_response(self, output):
        return {"classes": output}


if __name__ == "__main__":
    server = ls.LitServer(Iris(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["RIVAL_PORT"]),
        num_api_servers=1,
        generate_client_file=False,
        access_log=False,
    )

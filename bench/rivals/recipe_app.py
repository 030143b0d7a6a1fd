"""The recipe's server: Flask, its development server with debug on, no validation, the class of the first row."""

import os
import pickle
from pathlib import Path

from flask import Flask, jsonify, request

app = Flask(__name__)
model = pickle.loads(Path(os.environ["RIVAL_DIR"], "model.pkl").read_bytes())


@app.route("/api", methods=["POST"])
def api():
    feature = request.get_json(force=True)["feature"]
    return jsonify(int(model.predict(feature)[0]))


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["RIVAL_PORT"]), debug=True)

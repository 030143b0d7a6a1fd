"""Run in each rival's own environment: trains the same tree and stores it in that rival's format."""

import json
import pickle
import sys
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

kind, out = sys.argv[1], Path(sys.argv[2])
flowers = load_iris()
tree = DecisionTreeClassifier(random_state=0).fit(flowers.data, flowers.target)
out.mkdir(parents=True, exist_ok=True)
(out / "model.pkl").write_bytes(pickle.dumps(tree))

if kind == "mlflow":
    import mlflow

    saved = out / "mlflow-model"
    if not saved.exists():
        signature = mlflow.models.infer_signature(flowers.data, tree.predict(flowers.data))
        mlflow.sklearn.save_model(tree, saved, signature=signature, skops_trusted_types=["sklearn.tree._tree.Tree"])
if kind == "mlserver":
    import joblib

    for name, batching in (("plain", {}), ("batch", {"max_batch_size": 32, "max_batch_time": 0.002})):
        folder = out / f"mlserver-{name}"
        folder.mkdir(exist_ok=True)
        joblib.dump(tree, folder / "model.joblib")
        model = {"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel", **batching}
        model["parameters"] = {"uri": "./model.joblib", "version": "1"}
        (folder / "model-settings.json").write_text(json.dumps(model))
        (folder / "settings.json").write_text(json.dumps({"debug": False, "parallel_workers": 0, "host": "127.0.0.1"}))

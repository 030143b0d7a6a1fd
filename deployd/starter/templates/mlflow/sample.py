"""Writes model/ as MLflow writes it, to try the repository with. deployd replaces it by the registered version."""

import json
from importlib.metadata import version
from pathlib import Path

import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MEASURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
LIBRARIES = ("scikit-learn", "skops", "numpy", "pandas")


def write(directory: Path) -> None:
    """The species of an iris, with its signature, an example and the versions of the libraries."""
    flowers = load_iris(as_frame=True)
    rows = flowers.data.set_axis(MEASURES, axis="columns")
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, flowers.target_names[flowers.target])
    flavor = {
        "pickled_model": "model.skops",
        "serialization_format": "skops",
        "sklearn_version": version("scikit-learn"),
    }
    inputs = [{"type": "double", "name": name, "required": True} for name in MEASURES]
    described = {
        "flavors": {"sklearn": flavor},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps([{"type": "string", "required": True}])},
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "type": "dataframe",
            "pandas_orient": "split",
        },
    }
    directory.mkdir(exist_ok=True)
    skops.io.dump(model, directory / "model.skops")
    (directory / "input_example.json").write_text(rows[::30].to_json(orient="split", index=False))
    (directory / "requirements.txt").write_text("".join(f"{name}=={version(name)}\n" for name in LIBRARIES))
    (directory / "MLmodel").write_text(json.dumps(described, indent=2))  # JSON is YAML, too


if __name__ == "__main__":
    write(Path(__file__).with_name("model"))

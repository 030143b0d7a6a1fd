"""Logs models by MLflow into the directory argv[1], each with what scikit-learn predicts for some rows. It runs beside MLflow."""

import json
import sys
import warnings
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pandas as pd
import sklearn
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

warnings.simplefilter("ignore")
out = Path(sys.argv[1])
rng = np.random.default_rng(0)
COUNT = 120
flowers = load_iris()
people = pd.DataFrame(
    {
        "city": rng.choice(["Ulm", "Kiel", "Jena"], COUNT),
        "income": np.where(rng.random(COUNT) < 0.2, np.nan, rng.normal(3000, 900, COUNT).round(2)),
        "age": rng.integers(18, 90, COUNT),
        "member": rng.random(COUNT) < 0.4,
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, COUNT), unit="D"),
    }
)
stays = np.where(people.age / 50 + people.member + (people.city == "Ulm") > 1.9, "stays", "leaves")
comments = pd.Series([f"{rng.choice(['good', 'bad', 'slow'])} thing {n}" for n in range(COUNT)], name="comment")


def save(name, model, rows, *, signature=True, example=None, **more):
    given = infer_signature(rows, model.predict(rows)) if signature else None
    example = rows[:3] if example is None else example
    mlflow.sklearn.save_model(
        model,
        str(out / name),
        signature=given,
        input_example=None if example is False else example,
        pip_requirements=[f"scikit-learn=={sklearn.__version__}", f"pandas=={pd.__version__}", "mlflow"],
        **more,
    )
    asked = rows[:20]
    frame = asked.to_frame() if isinstance(asked, pd.Series) else asked
    cells = (
        json.loads(frame.to_json(orient="values", date_format="iso")) if hasattr(frame, "to_json") else frame.tolist()
    )
    expected = {
        "rows": cells,
        "columns": list(getattr(frame, "columns", [])),
        "predicted": model.predict(asked).tolist(),
    }
    if hasattr(model, "predict_proba"):
        expected["probabilities"] = model.predict_proba(asked).tolist()
    (out / f"{name}.json").write_text(json.dumps(expected))


words = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
numbers = make_pipeline(SimpleImputer(), StandardScaler())
columns = make_pipeline(
    ColumnTransformer([("n", numbers, ["age", "income"]), ("w", words, ["city"]), ("m", "passthrough", ["member"])]),
    LogisticRegression(),
).fit(people, stays)
save("columns", columns, people, skops_trusted_types=["numpy.dtype"])
plain = people.astype({"member": int}).drop(columns="since")
save("bare", columns.fit(plain, stays), plain, signature=False, example=False, skops_trusted_types=["numpy.dtype"])
forest = RandomForestClassifier(10, random_state=0).fit(flowers.data, flowers.target)
save("forest", forest, flowers.data, skops_trusted_types=["sklearn.tree._tree.Tree"])
coded = people[["age", "city", "income"]].astype({"city": "category"})
trusted = [
    "functools.partial",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.utils.validation.check_array",
]
boosting = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(coded, stays)
save("categories", boosting, coded, skops_trusted_types=trusted)
linear = LinearRegression().fit(flowers.data, flowers.target)
save("cloudpickle", linear, flowers.data, serialization_format="cloudpickle")
text = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(comments, stays)
save("text", text, comments, example=False)

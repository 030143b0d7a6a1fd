"""The example of docs/models.md: a task outside of model_service, with its data and a transformer of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from model_service.task import Task


def log(values: Any) -> Any:
    """A named function, which TRUST names too."""
    return np.log1p(values)


def task(seed: int) -> Task:
    """Who leaves, by age and plan."""
    people = pd.read_csv(Path(__file__).with_name("customers.csv"))
    columns = make_column_transformer(
        (FunctionTransformer(log), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["plan"])
    )
    estimator = make_pipeline(columns, LogisticRegression(random_state=seed))
    return Task("churn", people[["age", "plan"]], people["left"], estimator=estimator, bar=0.5, final_fit=True)

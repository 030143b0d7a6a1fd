"""The model: what it is trained on, and what it must reach."""

from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from model_service.task import Task

NUMBERS = ["age", "monthly_fee", "calls"]
WORDS = ["plan", "country"]


def task(seed: int) -> Task:
    """Who cancels, from columns of several types. The customers are invented."""
    customers = pd.read_csv(Path(__file__).with_name("customers.csv"))
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), WORDS),
    )
    return Task(
        name="mymodel",
        about="Predicts whether a customer cancels.",
        rows=customers[NUMBERS + WORDS],
        answers=customers["cancelled"],
        estimator=make_pipeline(columns, LogisticRegression(random_state=seed)),
        bar=0.75,  # the least accuracy on rows that are held back; below it, nothing is deployed
        final_fit=True,
    )

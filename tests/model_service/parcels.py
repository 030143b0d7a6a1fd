"""A task whose columns have limits: small whole numbers, closed categories of texts and of numbers, dates with an offset."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from model_service.task import Task


def hours(frame: Any) -> Any:
    return frame.apply(lambda column: column.dt.hour).fillna(0).to_numpy(dtype=float)


def as_numbers(frame: Any) -> Any:
    return frame.astype("Float64").to_numpy(dtype=float, na_value=np.nan)


def parcels(rows: int = 160) -> Task:
    """Which vehicle takes a parcel."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "pieces": rng.integers(1, 200, rows).astype("uint8"),
            "weight": rng.normal(5, 1, rows).astype("float32"),
            "floors": pd.Series(rng.integers(-2, 9, rows), dtype="Int16").mask(rng.random(rows) < 0.2),
            "insured": pd.Series(rng.random(rows) < 0.5, dtype="boolean").mask(rng.random(rows) < 0.2),
            "size": pd.Categorical(rng.choice(["S", "M", "L"], rows), categories=["S", "M", "L"], ordered=True),
            "zone": pd.Categorical(rng.choice([10, 20, 30], rows)),
            "street": rng.choice(["Hauptstraße", 'Ring "7"', "Markt"], rows),
            "note": [f"{rng.choice(['fragile', 'at the door', 'ring'])} {n}" for n in range(rows)],
            "sent": pd.Timestamp("2026-01-01", tz="Europe/Berlin")
            + pd.to_timedelta(rng.integers(0, 9999, rows), unit="h"),
            "due": pd.Series(pd.Timestamp("2026-02-01") + pd.to_timedelta(rng.integers(0, 999, rows), unit="D")),
        }
    )
    frame.loc[::9, ["street", "due"]] = None
    columns = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(FunctionTransformer(as_numbers), SimpleImputer()),
                ["pieces", "weight", "floors"],
            ),
            ("insured", make_pipeline(FunctionTransformer(as_numbers), SimpleImputer()), ["insured"]),
            ("closed", OneHotEncoder(), ["size", "zone"]),
            (
                "street",
                OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
                ["street"],
            ),
            ("note", TfidfVectorizer(), "note"),
            ("dates", FunctionTransformer(hours), ["sent", "due"]),
        ]
    )
    answers = np.where(frame["weight"] > frame["weight"].median(), "van", "bike")
    return Task("parcels", frame, answers, estimator=make_pipeline(columns, RandomForestClassifier(5, random_state=0)))


TRUSTED = ",".join(f"{one.__module__}.{one.__qualname__}" for one in (hours, as_numbers))

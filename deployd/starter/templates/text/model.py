"""The model: what it is trained on, and what it must reach."""

from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from model_service.task import Task


def task(seed: int) -> Task:
    """What a message is about. The messages are invented."""
    messages = pd.read_csv(Path(__file__).with_name("messages.csv"))
    words = make_column_transformer((TfidfVectorizer(), "message"))
    return Task(
        name="mymodel",
        about="Predicts what a customer's message is about.",
        rows=messages[["message"]],
        answers=messages["topic"],
        estimator=make_pipeline(words, LogisticRegression(random_state=seed)),
        bar=0.8,  # the least accuracy on rows that are held back; below it, nothing is deployed
        final_fit=True,
    )

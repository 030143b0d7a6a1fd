"""Models of equal quality for `bench gates`, and the pushes that bring them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from deployd.api.answers import DeployAnswer
from tests.e2e.world import World

_DOCKERFILE = """\
FROM python:3.11-slim-bookworm
COPY app.py labels.json behaviour /
ARG COMMIT
ENV COMMIT=$COMMIT
CMD ["python3", "-u", "/app.py"]
"""
ROWS, GOLDEN_ROWS = 500, 100
COUNTRIES = ("FR", "DE", "IT", "ES")
"""The country of each row, in turn."""


@dataclass(frozen=True, slots=True)
class Models:
    """The true labels of the rows, and what each of some models of equal quality says of them: only their seeds differ."""

    labels: list[int]
    answers: list[list[int]]


def models_of(count: int) -> Models:
    """So many models: forests of other seeds."""
    data, truth = make_classification(ROWS * 4, 12, n_informative=6, n_classes=3, flip_y=0.05, random_state=0)
    known, rows, labels, kept = train_test_split(data, truth, test_size=ROWS, random_state=0)
    forests = (RandomForestClassifier(60, random_state=seed).fit(known, labels) for seed in range(count))
    return Models(kept.tolist(), [forest.predict(rows).tolist() for forest in forests])


async def push(
    here: World, models: Models, answers: Sequence[float], *, golden: Sequence[int] | None = None, behaviour: str = ""
) -> DeployAnswer:
    """Deploy a service that answers so, with golden answers like them or with others; its deploy when it is live or has ended."""
    bodies = [{"instances": [{"row": row}]} for row in range(GOLDEN_ROWS)]
    cases = [
        {"request": body, "response": {"predictions": [{"label": label}]}}
        for body, label in zip(bodies, golden or answers, strict=False)
    ]
    requests = (json.dumps({"method": "POST", "path": "/predict", "body": body}) for body in bodies)
    rows = "\n".join(f"{row},{COUNTRIES[row % len(COUNTRIES)]},{label}" for row, label in enumerate(models.labels))
    written = {
        "Dockerfile": _DOCKERFILE,
        "app.py": Path(__file__).with_name("gates_app.py").read_text(),
        "labels.json": json.dumps(list(answers)),
        "behaviour": behaviour,
        "golden.json": json.dumps({"cases": cases}),
        "requests.jsonl": "\n".join(requests),
        "rows.csv": f"row,country,label\n{rows}\n",
    }
    for name, text in written.items():
        here.repository.write(name, text)
    return await here.ended(await here.deliver("Train a model"))

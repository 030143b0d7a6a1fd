"""Plain FastAPI as in its tutorial: pydantic models in and out, a synchronous route."""

import os
import pickle
from pathlib import Path

from fastapi import FastAPI
from pydantic import BaseModel

model = pickle.loads(Path(os.environ["RIVAL_DIR"], "model.pkl").read_bytes())
app = FastAPI()


class Question(BaseModel):
    feature: list[list[float]]


class Answer(BaseModel):
    classes: list[int]


@app.post("/api")
def api(question: Question) -> Answer:
    return Answer(classes=model.predict(question.feature).tolist())

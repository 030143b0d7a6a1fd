"""BentoML: one service, one worker, the shape and type of its input declared."""

import os
import pickle
from pathlib import Path
from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import DType, Shape


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})
class Iris:
    def __init__(self) -> None:
        self.model = pickle.loads(Path(os.environ["RIVAL_DIR"], "model.pkl").read_bytes())

    @bentoml.api
    def predict(self, feature: Annotated[np.ndarray, Shape((-1, 4)), DType("float64")]) -> list[int]:
        return self.model.predict(feature).tolist()

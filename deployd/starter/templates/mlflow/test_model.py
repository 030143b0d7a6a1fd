"""What the model in model/ must answer, whichever version it is."""

import json
import tempfile
import unittest
from pathlib import Path

from model_service import mlflow
from model_service.model import Model, load


class Answers(unittest.TestCase):
    """The served model, made once of what MLflow logged."""

    model: Model

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.TemporaryDirectory() as out:
            if mlflow.main(["model", "--out", out]) != 0:
                raise AssertionError("the model cannot be served: it says why")
            cls.model = load(Path(out))

    def test_a_small_flower_is_a_setosa(self) -> None:
        answer = json.loads(self.model.predict([[5.8, 4.0, 1.2, 0.2]])[0].json)
        self.assertEqual(answer["label"], "setosa")
